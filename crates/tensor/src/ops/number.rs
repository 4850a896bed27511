//! Numbers that operators compute with: what all types have, and how the halves go through f32.

use super::real;
use crate::array::Element;
use ballast_kernels::{Kernels, Pointwise};
use half::{bf16, f16};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number. Integers wrap.
pub(crate) trait Number: Element + Copy + PartialOrd {
    const ZERO: Self;
    const ONE: Self;
    /// What nothing is less than; of floats, minus infinity.
    const LOWEST: Self;
    /// What nothing is greater than; of floats, infinity.
    const HIGHEST: Self;

    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Towards zero for integers, whose divisor must not be 0.
    fn over(self, other: Self) -> Self;
    /// The remainder with the sign of the divisor; an integer's must not be 0.
    fn modulo(self, other: Self) -> Self;
    /// The remainder with the sign of the dividend; an integer's divisor must not be 0.
    fn fmod(self, other: Self) -> Self;
    fn magnitude(self) -> Self;
    fn negated(self) -> Self;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    fn to_f64(self) -> f64;
    /// The nearest that the type has; integers are cut off towards zero.
    fn of_f64(value: f64) -> Self;

    /// The greater; NaN if one is.
    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }

    /// The lesser; NaN if one is.
    #[inline(always)]
    fn lesser(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "NaN alone is not equal to itself")]
    fn is_nan(self) -> bool {
        self != self
    }
}

/// Methods of two numbers, and of one, by functions.
macro_rules! methods {
    ({ $($two:ident = $f:expr;)+ } { $($one:ident = $g:expr;)+ }) => {
        $(
            #[inline(always)]
            fn $two(self, other: Self) -> Self {
                ($f)(self, other)
            }
        )+
        $(
            #[inline(always)]
            fn $one(self) -> Self {
                ($g)(self)
            }
        )+
    };
}

macro_rules! integers {
    ($($int:ty, $magnitude:expr, $sign:expr, $modulo:expr;)+) => {
        $(
            impl Number for $int {
                const ZERO: Self = 0;
                const ONE: Self = 1;
                const LOWEST: Self = <$int>::MIN;
                const HIGHEST: Self = <$int>::MAX;

                methods! {
                    {
                    plus = Self::wrapping_add;
                    minus = Self::wrapping_sub;
                    times = Self::wrapping_mul;
                    over = Self::wrapping_div;
                    modulo = $modulo;
                    fmod = Self::wrapping_rem;
                    }
                    {
                    magnitude = $magnitude;
                    negated = Self::wrapping_neg;
                    sign = $sign;
                    }
                }

                #[inline(always)]
                #[allow(
                    clippy::cast_precision_loss,
                    clippy::cast_lossless,
                    reason = "one body for all types; the nearest f64 is what is asked for"
                )]
                fn to_f64(self) -> f64 {
                    self as f64
                }

                #[inline(always)]
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "one body for all types; what the type has nearest is what is asked for"
                )]
                fn of_f64(value: f64) -> Self {
                    value as $int
                }
            }
        )+
    };
}

/// The remainder with the divisor's sign, from the one with the dividend's.
macro_rules! floored {
    () => {
        |a: Self, b: Self| {
            let rest = a.wrapping_rem(b);
            if rest != 0 && (rest < 0) != (b < 0) { rest.wrapping_add(b) } else { rest }
        }
    };
}

integers! {
    i64, Self::wrapping_abs, Self::signum, floored!();
    i32, Self::wrapping_abs, Self::signum, floored!();
    i16, Self::wrapping_abs, Self::signum, floored!();
    i8, Self::wrapping_abs, Self::signum, floored!();
    u64, std::convert::identity, |value: Self| value.min(1), Self::wrapping_rem;
    u32, std::convert::identity, |value: Self| value.min(1), Self::wrapping_rem;
    u16, std::convert::identity, |value: Self| value.min(1), Self::wrapping_rem;
    u8, std::convert::identity, |value: Self| value.min(1), Self::wrapping_rem;
}

/// A floating-point number, computed with in a type that the CPU has.
pub(crate) trait Float: Number {
    /// f64 for itself, f32 for all others.
    type Wide: Real;

    fn wide(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! floats {
    ($($float:ty, $wide:ty, $one:expr, $widen:expr, $narrow:expr, $to_f64:expr, $of_f64:expr;)+) => {
        $(
            impl Float for $float {
                type Wide = $wide;

                #[inline(always)]
                fn wide(self) -> $wide {
                    $widen(self)
                }

                #[inline(always)]
                fn narrow(wide: $wide) -> Self {
                    $narrow(wide)
                }
            }

            impl Number for $float {
                const ZERO: Self = <$float>::from_bits(0);
                const ONE: Self = $one;
                const LOWEST: Self = <$float>::NEG_INFINITY;
                const HIGHEST: Self = <$float>::INFINITY;

                methods! {
                    {
                    plus = |a: Self, b: Self| Self::narrow(a.wide() + b.wide());
                    minus = |a: Self, b: Self| Self::narrow(a.wide() - b.wide());
                    times = |a: Self, b: Self| Self::narrow(a.wide() * b.wide());
                    over = |a: Self, b: Self| Self::narrow(a.wide() / b.wide());
                    modulo = |a: Self, b: Self| Self::narrow(floored(a.wide(), b.wide()));
                    fmod = |a: Self, b: Self| Self::narrow(a.wide() % b.wide());
                    }
                    {
                    magnitude = |a: Self| Self::narrow(a.wide().abs());
                    negated = |a: Self| Self::narrow(-a.wide());
                    // A zero and NaN are their own signs.
                    sign = |a: Self| if a > Self::ZERO { Self::ONE } else if a < Self::ZERO { Self::ONE.negated() } else { a };
                    }
                }

                #[inline(always)]
                fn to_f64(self) -> f64 {
                    $to_f64(self)
                }

                #[inline(always)]
                fn of_f64(value: f64) -> Self {
                    $of_f64(value)
                }
            }
        )+
    };
}

/// The remainder with the sign of the divisor.
#[inline(always)]
fn floored<R: Real>(a: R, b: R) -> R {
    let rest = a.fmod(b);
    if rest != R::ZERO && (rest < R::ZERO) != (b < R::ZERO) { rest + b } else { rest }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest is what is asked for")]
fn nearest_f32(value: f64) -> f32 {
    value as f32
}

floats! {
    f32, f32, 1.0, std::convert::identity, std::convert::identity, f64::from, nearest_f32;
    f64, f64, 1.0, std::convert::identity, std::convert::identity, std::convert::identity, std::convert::identity;
    f16, f32, f16::ONE, f16::to_f32, f16::from_f32, f16::to_f64, f16::from_f64;
    bf16, f32, bf16::ONE, bf16::to_f32, bf16::from_f32, bf16::to_f64, bf16::from_f64;
}

/// A float that the CPU computes with.
pub(crate) trait Real:
    Float<Wide = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    fn abs(self) -> Self;
    fn acos(self) -> Self;
    fn acosh(self) -> Self;
    fn asin(self) -> Self;
    fn asinh(self) -> Self;
    fn atan(self) -> Self;
    fn atanh(self) -> Self;
    fn ceil(self) -> Self;
    fn cos(self) -> Self;
    fn cosh(self) -> Self;
    fn exp_m1(self) -> Self;
    fn floor(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    fn round_ties_even(self) -> Self;
    fn sin(self) -> Self;
    fn sinh(self) -> Self;
    fn sqrt(self) -> Self;
    fn tan(self) -> Self;
    fn powf(self, exponent: Self) -> Self;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// `x = exp(x)`, as fast as the kernels can.
    fn exp_all(kernels: &dyn Kernels, x: &mut [Self]);
}

macro_rules! reals {
    ($($real:ident { $($own:ident = $body:path;)+ } $exp_all:expr;)+) => {
        $(
            impl Real for $real {
                reals! { $real: abs acos acosh asin asinh atan atanh ceil cos cosh exp_m1 floor ln ln_1p
                    round_ties_even sin sinh sqrt tan }

                #[inline(always)]
                fn powf(self, exponent: Self) -> Self {
                    <$real>::powf(self, exponent)
                }

                fn exp_all(kernels: &dyn Kernels, x: &mut [Self]) {
                    $exp_all(kernels, x);
                }

                $(
                    #[inline(always)]
                    fn $own(self) -> Self {
                        $body(self)
                    }
                )+
            }
        )+
    };
    ($real:ident: $($method:ident)+) => {
        $(
            #[inline(always)]
            fn $method(self) -> Self {
                <$real>::$method(self)
            }
        )+
    };
}

reals! {
    f32 { exp = real::exp; tanh = real::tanh; erf = real::erf; sigmoid = real::sigmoid; }
        |kernels: &dyn Kernels, x: &mut [f32]| kernels.pointwise(Pointwise::Exp, x);
    f64 { exp = f64::exp; tanh = f64::tanh; erf = real::erf_f64; sigmoid = real::sigmoid_f64; }
        |_, x: &mut [f64]| x.iter_mut().for_each(|x| *x = f64::exp(*x));
}

/// Runs an expression with a name for the type that elements have, if it is among those in brackets; another for all
/// others: `by_type!(dtype, T in [F32 F64] => zeros::<T>(), else => return Err(..))`.
macro_rules! by_type {
    (@type F32) => { f32 };
    (@type F64) => { f64 };
    (@type F16) => { half::f16 };
    (@type Bf16) => { half::bf16 };
    (@type I64) => { i64 };
    (@type I32) => { i32 };
    (@type I16) => { i16 };
    (@type I8) => { i8 };
    (@type U64) => { u64 };
    (@type U32) => { u32 };
    (@type U16) => { u16 };
    (@type U8) => { u8 };
    (@type Bool) => { bool };
    (@type Str) => { String };
    ($dtype:expr, $T:ident in numbers => $body:expr, else => $other:expr) => {
        $crate::ops::number::by_type!($dtype, $T in [F32 F64 F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8] => $body,
            [Bool Str] => $other)
    };
    ($dtype:expr, $T:ident in floats => $body:expr, else => $other:expr) => {
        $crate::ops::number::by_type!($dtype, $T in [F32 F64 F16 Bf16] => $body,
            [I64 I32 I16 I8 U64 U32 U16 U8 Bool Str] => $other)
    };
    ($dtype:expr, $T:ident in reals => $body:expr, else => $other:expr) => {
        $crate::ops::number::by_type!($dtype, $T in [F32 F64] => $body,
            [F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8 Bool Str] => $other)
    };
    ($dtype:expr, $T:ident in integers => $body:expr, else => $other:expr) => {
        $crate::ops::number::by_type!($dtype, $T in [I64 I32 I16 I8 U64 U32 U16 U8] => $body,
            [F32 F64 F16 Bf16 Bool Str] => $other)
    };
    ($dtype:expr, $T:ident in all => $body:expr) => {
        $crate::ops::number::by_type!($dtype,
            $T in [F32 F64 F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8 Bool Str] => $body, [] => {})
    };
    ($dtype:expr, $T:ident in reals => $of_reals:expr, $U:ident in integers => $of_integers:expr, else => $other:expr) => {
        $crate::ops::number::by_type!($dtype, $T in [F32 F64] => $of_reals,
            $U in [I64 I32 I16 I8 U64 U32 U16 U8] => $of_integers, [F16 Bf16 Bool Str] => $other)
    };
    ($dtype:expr, $($T:ident in [$($variant:ident)+] => $body:expr,)+ [$($rest:ident)*] => $other:expr) => {
        match $dtype {
            $($(
                ballast_backend::DType::$variant => {
                    type $T = $crate::ops::number::by_type!(@type $variant);
                    $body
                }
            )+)+
            $(ballast_backend::DType::$rest => $other,)*
        }
    };
}
pub(crate) use by_type;
