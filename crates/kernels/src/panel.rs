//! A rectangle of a row-major matrix that one thread may write while others write the columns beside it.

#![expect(unsafe_code, reason = "disjoint column ranges of one allocation cannot be expressed as slices")]

use std::marker::PhantomData;

/// Columns `c0..c1` of a row-major matrix of `f32`, borrowed for writing.
#[derive(Debug)]
pub struct PanelMut<'a> {
    start: *mut f32,
    stride: usize,
    n_rows: usize,
    n_cols: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a panel is an exclusive borrow of its entries, as `&mut [f32]` is, and f32 is Send.
unsafe impl Send for PanelMut<'_> {}

impl<'a> PanelMut<'a> {
    /// The whole of `data` as a matrix of `n_cols` columns.
    ///
    /// # Panics
    /// If `n_cols` is 0 or does not divide the length of `data`.
    #[must_use]
    pub fn new(data: &'a mut [f32], n_cols: usize) -> Self {
        assert!(n_cols > 0 && data.len().is_multiple_of(n_cols), "{} entries in rows of {n_cols}", data.len());
        let n_rows = data.len() / n_cols;
        Self { start: data.as_mut_ptr(), stride: n_cols, n_rows, n_cols, life: PhantomData }
    }

    /// The same panel for a while.
    #[must_use]
    pub fn borrowed(&mut self) -> PanelMut<'_> {
        PanelMut { start: self.start, stride: self.stride, n_rows: self.n_rows, n_cols: self.n_cols, life: PhantomData }
    }

    /// Splits into the first `col` columns and the rest.
    ///
    /// # Panics
    /// If there are fewer than `col` columns.
    #[must_use]
    pub fn split_at_col(self, col: usize) -> (Self, Self) {
        assert!(col <= self.n_cols, "split at column {col} of {}", self.n_cols);
        // wrapping_add: the right panel may be empty and its start one past the end.
        let right_start = self.start.wrapping_add(col);
        let left = Self { n_cols: col, ..self };
        let right = Self { start: right_start, n_cols: left_width(self.n_cols, col), ..left };
        (left, right)
    }

    /// Splits into the first `row` rows and the rest.
    ///
    /// # Panics
    /// If there are fewer than `row` rows.
    #[must_use]
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        assert!(row <= self.n_rows, "split at row {row} of {}", self.n_rows);
        // wrapping_add: the lower panel may be empty and its start past the end.
        let below_start = self.start.wrapping_add(row * self.stride);
        let n_below = self.n_rows - row;
        let above = Self { n_rows: row, ..self };
        let below = Self { start: below_start, n_rows: n_below, ..above };
        (above, below)
    }

    /// Rows of the panel.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns of the panel.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Row `idx` of the panel, `[n_cols]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, idx: usize) -> &mut [f32] {
        assert!(idx < self.n_rows, "row {idx} of {}", self.n_rows);
        // SAFETY: `new` took an exclusive borrow of n_rows * stride entries and every panel made from it by
        // `split_at_col` or `split_at_row` has its own columns or rows, so start + idx * stride .. + n_cols lies inside that borrow and
        // overlaps no other panel's row; `&mut self` keeps a second row of this panel from being live.
        unsafe { std::slice::from_raw_parts_mut(self.start.wrapping_add(idx * self.stride), self.n_cols) }
    }
}

fn left_width(n_cols: usize, col: usize) -> usize {
    n_cols - col
}

#[cfg(test)]
mod tests {
    use super::PanelMut;

    #[test]
    fn panels_write_their_own_columns() {
        let mut data = vec![0.0; 6];
        let (mut left, mut right) = PanelMut::new(&mut data, 3).split_at_col(1);
        for row in 0..2 {
            left.row_mut(row).fill(1.0);
            right.row_mut(row).fill(2.0);
        }
        assert_eq!(data, [1.0, 2.0, 2.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn panels_write_their_own_rows() {
        let mut data = vec![0.0; 6];
        let (mut above, below) = PanelMut::new(&mut data, 2).split_at_row(1);
        let (mut left, mut right) = below.split_at_col(1);
        above.row_mut(0).fill(1.0);
        for row in 0..2 {
            left.row_mut(row).fill(2.0);
            right.row_mut(row).fill(3.0);
        }
        assert_eq!(data, [1.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        let (above, below) = PanelMut::new(&mut data, 2).split_at_row(3);
        assert_eq!((above.n_rows(), below.n_rows()), (3, 0));
    }

    #[test]
    fn an_empty_panel_has_empty_rows() {
        let mut data = vec![0.0; 4];
        let (_, mut right) = PanelMut::new(&mut data, 2).split_at_col(2);
        assert!(right.row_mut(1).is_empty());
    }
}
