//! From when on the past can be told: what compaction drops, only states before that time need.

use redb::{ReadOnlyTable, WriteTransaction};

use super::error::Fault;
use super::store::{META, checked, numbers, read_numbers, summed};
use super::{Journal, Position};

/// Only there where something was ever compacted. A program that does not know it goes on without.
const KEY: &str = "whole_since";

impl Journal {
    /// That time in milliseconds since the epoch; `None` where nobody noted it, or nothing is stored.
    pub(super) fn whole(&self) -> Result<Option<i64>, Fault> {
        if self.whole_since.is_some() {
            return Ok(self.whole_since);
        }
        let compacted = self.stored.thinned > 0 || self.stored.base > Position(0);
        let first = if compacted { None } else { self.rows(self.stored.base)?.next()? };
        Ok(first.map(|row| row.head.first_at))
    }
}

/// Notes it in the commit that drops something.
pub fn write(transaction: &WriteTransaction, at: Option<i64>) -> Result<(), Fault> {
    if let Some(at) = at {
        let value = summed(&numbers(&[at.cast_unsigned()]));
        transaction.open_table(META)?.insert(KEY, &value[..])?;
    }
    Ok(())
}

/// What was noted.
pub fn read(meta: &ReadOnlyTable<&'static str, &'static [u8]>) -> Result<Option<i64>, Fault> {
    Ok(meta.get(KEY)?.and_then(|value| {
        let [at] = read_numbers(checked(value.value())?)?;
        Some(at.cast_signed())
    }))
}
