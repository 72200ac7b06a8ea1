use backstop_domain::{
    Decision,
    payout::{PayoutOrder, PayoutRef},
};

use super::{Books, BooksError, PayoutStanding, payouts::bind_order};

impl Books {
    /// Writes a withdrawal down, nothing debited yet: it waits for an approval, or is queued.
    ///
    /// # Errors
    /// Refused when the input can't work, the destination is not on the user's allow-list, or the id is taken, held or
    /// ended.
    pub async fn withdrawal_request(&self, order: &PayoutOrder) -> Result<PayoutStanding, BooksError> {
        let sql = "SELECT * FROM withdrawal_request($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11, $12, $13)";
        self.standing(bind_order(sqlx::query_as(sql), order)).await
    }

    /// Takes a second person's word on a withdrawal down.
    ///
    /// # Errors
    /// `SelfApproval` when it is the requester's; `NotAllowed` when no approval is waited for.
    pub async fn withdrawal_decide(
        &self,
        payout: &PayoutRef,
        approve: bool,
        decision: &Decision,
    ) -> Result<PayoutStanding, BooksError> {
        let query = sqlx::query_as("SELECT * FROM withdrawal_decide($1, $2, $3, $4)");
        let query = query.bind(payout.payout_id.as_str()).bind(approve);
        self.standing(query.bind(decision.operator.as_str()).bind(decision.evidence.as_str())).await
    }

    /// Ends a withdrawal that nobody decided on in time; one that was decided on stays as it is.
    ///
    /// # Errors
    /// Refused when another workflow holds it.
    pub async fn withdrawal_expire(&self, payout: &PayoutRef) -> Result<PayoutStanding, BooksError> {
        let query = sqlx::query_as("SELECT * FROM withdrawal_expire($1, $2)");
        self.standing(query.bind(payout.payout_id.as_str()).bind(&payout.holder)).await
    }

    /// Claims a queued withdrawal: user available → in transit. The holder may come again.
    ///
    /// # Errors
    /// Refused when funds are insufficient or frozen, another workflow holds it, or it is not queued.
    pub async fn withdrawal_claim(&self, payout: &PayoutRef) -> Result<PayoutStanding, BooksError> {
        let query = sqlx::query_as("SELECT * FROM withdrawal_claim($1, $2)");
        self.standing(query.bind(payout.payout_id.as_str()).bind(&payout.holder)).await
    }
}
