//! Choices that are the same whenever the seed is.

/// A stream of choices for one name and one seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// FNV-1a of the name and the seed: of two cells with one seed, each chooses for itself.
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let bytes = name.bytes().chain(seed.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The next of splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap().max(1);
        usize::try_from(self.next() % end).unwrap()
    }

    /// One of several.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Heads?
    pub(crate) fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}
