//! Where a world's worker is made to die or wait, and where it has been.

use backstop::stack::wait_until;

use crate::world::{DEADLINE, World};

impl World {
    /// Makes the worker die (`kill`) or wait (`hang`) at a failpoint.
    pub fn arm(&self, failpoint: &str, what: &str) {
        std::fs::write(self.directory.join("failpoints").join(failpoint), what).unwrap();
    }

    /// Lets the worker go on.
    pub fn disarm(&self, failpoint: &str) {
        std::fs::remove_file(self.directory.join("failpoints").join(failpoint)).unwrap();
    }

    /// Waits until the worker waits at a failpoint that is armed with `hang`.
    pub async fn held_at(&self, failpoint: &str) {
        let fired = self.directory.join("failpoints").join(format!("{failpoint}.fired"));
        assert!(wait_until(DEADLINE, async || fired.exists()).await, "{failpoint} was never reached");
    }

    /// The names of the failpoints that workers have passed so far, in order, as often as they were.
    pub fn passed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("failpoints/passed")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the worker has ended every activity that it began.
    pub fn is_quiet(&self) -> bool {
        let passed = self.passed();
        let count = |end: &str| passed.iter().skip(self.passed_before).filter(|name| name.ends_with(end)).count();
        count(".before") == count(".after")
    }

    /// Lets go of whatever waits at a failpoint, and arms none.
    pub fn disarm_all(&self) {
        for file in std::fs::read_dir(self.directory.join("failpoints")).unwrap().flatten() {
            if std::fs::read_to_string(file.path()).is_ok_and(|text| ["kill", "hang"].contains(&text.as_str())) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}
