//! Products of matrices of types that no kernel has.

use crate::array::Element;

/// Numbers that can be multiplied and added, integers as they wrap.
pub(super) trait Arithmetic: Element + Copy {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Times a factor, towards zero.
    fn scaled(self, factor: f32) -> Self;
}

impl Arithmetic for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }

    fn scaled(self, factor: f32) -> Self {
        self * Self::from(factor)
    }
}

macro_rules! integers {
    ($($integer:ty),+) => {
        $(
            impl Arithmetic for $integer {
                fn plus(self, other: Self) -> Self {
                    self.wrapping_add(other)
                }

                fn times(self, other: Self) -> Self {
                    self.wrapping_mul(other)
                }

                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "integers are cut off")]
                fn scaled(self, factor: f32) -> Self {
                    if factor == 1.0 { self } else { (self as f64 * f64::from(factor)) as Self }
                }
            }
        )+
    };
}

integers!(i32, i64, u32, u64);

/// `[m, k] x [k, n]`, onto zeros.
pub(super) fn multiply<T: Arithmetic>([a, b]: [&[T]; 2], [_, k, n]: [usize; 3], out: &mut [T]) {
    if k == 0 || n == 0 {
        return;
    }
    for (out, a) in out.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (out, b) in out.iter_mut().zip(b) {
                *out = out.plus(a.times(*b));
            }
        }
    }
}
