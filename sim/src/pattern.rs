//! Bodies that say whose they are: a byte's value follows from an exchange's id and the byte's place.

/// The byte at place `at` of the body with this id.
fn byte(id: u64, at: u64) -> u8 {
    let base = id.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    (base.wrapping_add(at).wrapping_add(base.wrapping_mul(at >> 8))) as u8
}

/// Bytes `from` to `from + len` of a body.
pub(crate) fn fill(out: &mut Vec<u8>, id: u64, from: u64, len: u64) {
    out.extend((from..from + len).map(|at| byte(id, at)));
}

/// Whether `bytes` are a body's from place `from` on; the place of the first that isn't.
pub(crate) fn check(id: u64, from: u64, bytes: &[u8]) -> Result<(), String> {
    match bytes.iter().zip(from..).find(|(found, at)| **found != byte(id, *at)) {
        None => Ok(()),
        Some((found, at)) => Err(format!("byte {at} of body {id} is {found:#x} and not {:#x}", byte(id, at))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_doubled_or_foreign_byte_is_seen() {
        let mut body = Vec::new();
        fill(&mut body, 7, 0, 2_000);
        assert_eq!(check(7, 0, &body), Ok(()));
        assert_eq!(check(7, 500, &body[500..]), Ok(()));
        assert!(check(8, 0, &body[..64]).is_err());
        assert!(check(7, 0, &[&body[..900], &body[901..]].concat()).is_err());
        assert!(check(7, 0, &[&body[..900], &body[899..]].concat()).is_err());
        assert!(check(7, 0, &[&body[..256], &body[512..]].concat()).is_err());
    }
}
