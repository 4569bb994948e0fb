//! Printing values as JSON or YAML.

use serde::Serialize;

/// Pretty JSON on standard output.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// YAML on standard output.
pub fn yaml<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print!("{}", serde_saphyr::to_string(value)?);
    Ok(())
}
