//! Blocks that come again are decoded by recollection: the result has to be what decoding gives.

use proptest::prelude::*;

use crate::http::h2::head::{Repeated, request};
use crate::http::h2::hpack::Decoder;
use crate::http::h2::{Limits, Message};

/// Blocks after each of which the next may mean something else, and blocks after which it doesn't. GET, http and / are
/// indices 2, 6 and 4 of the static table, `:authority` is 1.
const BLOCKS: [&[u8]; 11] = [
    // Authorities put into the table.
    b"\x82\x86\x84\x41\x01a",
    b"\x82\x86\x84\x41\x02bc",
    // The newest entry of the table, whatever it is; the ones before it.
    b"\x82\x86\x84\xbe",
    b"\x82\x86\x84\xbf",
    b"\x82\x86\x84\xc0",
    // A path, and with it the newest entry; the same longer.
    b"\x82\x86\x04\x02/x\xbe",
    b"\x82\x86\x04\x03/xy\xbe",
    // A field put into the table behind the newest entry.
    b"\x82\x86\x84\xbe\x40\x01x\x01y",
    // The table is emptied; given back its size.
    b"\x20\x82\x86\x84\x01\x01a",
    b"\x3f\xe1\x1f\x82\x86\x84\x01\x01a",
    // A length: with the end of the stream it is wrong.
    b"\x82\x86\x84\x01\x01a\x0f\x0d\x012",
];

proptest! {
    #[test]
    fn blocks_that_come_again_mean_what_they_say(
        steps in proptest::collection::vec((0..BLOCKS.len() + 1, 1..5_usize, any::<bool>()), 1..30),
    ) {
        let limits = Limits::default();
        let (mut recalling, mut decoding) = (Decoder::new(4096, 4096), Decoder::new(4096, 4096));
        let mut repeated = Repeated::default();
        let (mut recalled, mut decoded) = (Message::default(), Message::default());
        for (number, times, end_stream) in steps {
            let Some(block) = BLOCKS.get(number) else {
                recalling.acknowledged(4096);
                decoding.acknowledged(4096);
                continue;
            };
            for _ in 0..times {
                let one = request(block, &mut recalling, &limits, end_stream, &mut repeated, &mut recalled);
                let mut never = Repeated::default();
                let other = request(block, &mut decoding, &limits, end_stream, &mut never, &mut decoded);
                prop_assert_eq!(one, other);
                if one.is_err() {
                    return Ok(());
                }
                prop_assert_eq!(&recalled.text, &decoded.text);
                prop_assert_eq!(format!("{:?}", recalled.request), format!("{:?}", decoded.request));
            }
        }
    }
}

#[test]
fn a_smaller_table_that_is_due_is_asked_for_behind_a_block_that_is_known() {
    let limits = Limits::default();
    let mut decoder = Decoder::new(4096, 4096);
    let (mut repeated, mut message) = (Repeated::default(), Message::default());
    let block = b"\x82\x86\x84\x01\x01a";
    for _ in 0..4 {
        assert_eq!(request(block, &mut decoder, &limits, true, &mut repeated, &mut message), Ok(Ok(Some(0))));
    }
    decoder.acknowledged(0);
    assert!(request(block, &mut decoder, &limits, true, &mut repeated, &mut message).is_err());
}
