//! Decimal numbers as `shopspring/decimal` 1.4.0 has them, as far as 38 digits go; beyond, the result is that of floats.

use crate::float;
use crate::function::Fault;

/// `coefficient · 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    coefficient: i128,
    exponent: i32,
}

/// An operation on two decimals.
pub(crate) type Operation = fn(Decimal, Decimal) -> Result<Decimal, Fault>;

impl Decimal {
    /// `decimal.NewFromFloat`: the shortest digits that mean the number.
    pub(crate) fn new(number: f64) -> Result<Self, Fault> {
        if let Some(text) = float::not_finite(number) {
            return Err(Fault::new(format!("Cannot create a Decimal from {text}")));
        }
        let digits = format!("{number:e}");
        let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
        let places = mantissa.split_once('.').map_or(0, |(_, places)| places.len() as i32);
        let coefficient = mantissa.replace('.', "").parse().expect("seventeen digits fit");
        Ok(Self { coefficient, exponent: exponent.parse::<i32>().expect("an exponent is a number") - places })
    }

    pub(crate) fn add(self, other: Self) -> Result<Self, Fault> {
        let exponent = self.exponent.min(other.exponent);
        let sum =
            self.scaled(exponent).zip(other.scaled(exponent)).and_then(|(one, other)| one.checked_add(other));
        match sum {
            Some(coefficient) => Ok(Self { coefficient, exponent }),
            None => Self::new(self.to_float() + other.to_float()),
        }
    }

    pub(crate) fn sub(self, other: Self) -> Result<Self, Fault> {
        self.add(Self { coefficient: -other.coefficient, exponent: other.exponent })
    }

    pub(crate) fn mul(self, other: Self) -> Result<Self, Fault> {
        match self.coefficient.checked_mul(other.coefficient) {
            Some(coefficient) => Ok(Self { coefficient, exponent: self.exponent + other.exponent }),
            None => Self::new(self.to_float() * other.to_float()),
        }
    }

    /// `Decimal.Div`: 16 places, the last one rounded away from zero.
    pub(crate) fn div(self, other: Self) -> Result<Self, Fault> {
        if other.coefficient == 0 {
            return Err(Fault::new("decimal division by 0"));
        }
        let shift = self.exponent - other.exponent + PLACES;
        let (up, down) = (power(shift.max(0)), power((-shift).max(0)));
        let operands = up
            .zip(down)
            .and_then(|(up, down)| self.coefficient.checked_mul(up).zip(other.coefficient.checked_mul(down)));
        let Some((dividend, divisor)) = operands else {
            return Self::new(self.to_float() / other.to_float());
        };
        let (quotient, remainder) = (dividend / divisor, dividend % divisor);
        let half = remainder.unsigned_abs() >= divisor.unsigned_abs() - remainder.unsigned_abs();
        let away = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
        Ok(Self { coefficient: if half { quotient + away } else { quotient }, exponent: -PLACES })
    }

    pub(crate) fn to_float(self) -> f64 {
        format!("{}e{}", self.coefficient, self.exponent).parse().unwrap_or(0.0)
    }

    /// The coefficient for a smaller exponent.
    fn scaled(self, exponent: i32) -> Option<i128> {
        self.coefficient.checked_mul(power(self.exponent - exponent)?)
    }
}

fn power(exponent: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// `decimal.DivisionPrecision`.
const PLACES: i32 = 16;
