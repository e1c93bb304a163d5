//! Status codes that have a counter of their own.

/// 1xx to 5xx.
pub const CLASSES: usize = 5;

/// Codes registered with IANA (HTTP Status Code Registry), ascending. Any other code counts in its class alone, so
/// that an upstream can't make up metrics.
pub const REGISTERED: [u16; 62] = [
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425,
    426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

const NONE: u8 = u8::MAX;

const PLACES: [u8; 500] = {
    let mut places = [NONE; 500];
    let mut at = 0;
    while at < REGISTERED.len() {
        places[REGISTERED[at] as usize - 100] = at as u8;
        at += 1;
    }
    places
};

/// Place of a code in [`REGISTERED`].
#[inline]
pub fn place(code: u16) -> Option<usize> {
    match PLACES.get(usize::from(code).wrapping_sub(100)) {
        Some(&place) if place != NONE => Some(usize::from(place)),
        _ => None,
    }
}

/// 0 for 1xx to 4 for 5xx.
#[inline]
pub fn class(code: u16) -> Option<usize> {
    match code {
        100..=199 => Some(0),
        200..=299 => Some(1),
        300..=399 => Some(2),
        400..=499 => Some(3),
        500..=599 => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_code_has_its_place_and_others_have_none() {
        for (at, &code) in REGISTERED.iter().enumerate() {
            assert_eq!(place(code), Some(at));
            assert_eq!(class(code), Some(usize::from(code) / 100 - 1));
        }
        for code in [0, 99, 299, 499, 599, 600, u16::MAX] {
            assert_eq!(place(code), None, "{code}");
        }
        assert_eq!((class(99), class(600)), (None, None));
    }
}
