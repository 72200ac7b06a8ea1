//! What the tests of publishing need of a world.

use crate::world::World;

impl World {
    /// The next workers publish: they look often, pause briefly, and give an event up after three answers.
    pub fn settings_for_publishing(&mut self, secret: &'static str, answer_timeout_ms: &'static str) {
        self.settings.extend([
            ("BACKSTOP_PUBLISH_EVERY_MS", "40"),
            ("BACKSTOP_PUBLISH_ANSWER_TIMEOUT_MS", answer_timeout_ms),
            ("BACKSTOP_PUBLISH_PAUSE_MS", "40"),
            ("BACKSTOP_PUBLISH_ATTEMPTS", "3"),
            ("BACKSTOP_EVENT_SOURCE", "/backstop/test"),
            ("BACKSTOP_WEBHOOK_SECRET", secret),
        ]);
    }
}
