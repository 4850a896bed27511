//! Finds things by name in a list that keeps its own order.

/// A sorted index over names that live elsewhere: four bytes per name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NameIndex {
    order: Vec<u32>,
}

impl NameIndex {
    /// Indexes `n` names.
    ///
    /// # Errors
    /// The position of the later of two equal names.
    ///
    /// # Panics
    /// If there are more names than a `u32` counts; the limits are far below.
    pub(crate) fn new<'a>(n: usize, name: impl Fn(usize) -> &'a str) -> Result<Self, usize> {
        let n = u32::try_from(n).expect("the limits on names are below u32::MAX");
        let mut order: Vec<u32> = (0..n).collect();
        order.sort_by(|&a, &b| name(a as usize).cmp(name(b as usize)).then(a.cmp(&b)));
        let equal = |pair: &&[u32]| name(pair[0] as usize) == name(pair[1] as usize);
        match order.windows(2).filter(equal).map(|pair| pair[1]).min() {
            Some(later) => Err(later as usize),
            None => Ok(Self { order }),
        }
    }

    /// The position of `wanted`.
    pub(crate) fn find<'a>(&self, wanted: &str, name: impl Fn(usize) -> &'a str) -> Option<usize> {
        let found = self.order.binary_search_by(|&idx| name(idx as usize).cmp(wanted)).ok()?;
        Some(self.order[found] as usize)
    }
}
