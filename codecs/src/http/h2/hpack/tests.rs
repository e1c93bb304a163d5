use super::table::Table;
use super::*;
use crate::http::FieldId;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<String, Invalid> {
    let (mut text, mut block, mut line) = (Vec::new(), Block::new(bytes), Line::default());
    while decoder.next(&mut block, &mut text, true, &mut line)? {
        assert_eq!(text.len(), line.value.end as usize + 2);
        assert_eq!(line.id, FieldId::of(line.name.of(&text)));
    }
    Ok(String::from_utf8(text).expect("text"))
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(&mut out, &(name.as_bytes(), value.as_bytes(), false).into());
    }
    out
}

fn lines(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// Header lists of RFC 7541 C.3 to C.6.
const FIRST_REQUEST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const THIRD_REQUEST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

fn second_request() -> Vec<(&'static str, &'static str)> {
    FIRST_REQUEST.iter().copied().chain([("cache-control", "no-cache")]).collect()
}

#[test]
fn literals_of_appendix_c_2() {
    for (bytes, expected, size) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\r\n", 55),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\r\n", 0),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\r\n", 0),
        ("82", ":method: GET\r\n", 0),
    ] {
        let mut decoder = Decoder::new(4096, 4096);
        assert_eq!(decode(&mut decoder, &hex(bytes)).as_deref(), Ok(expected));
        assert_eq!(decoder.table_size(), size);
    }
}

#[test]
fn requests_of_appendix_c_3_and_c_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(4096, 4096);
        let lists = [lines(FIRST_REQUEST), lines(&second_request()), lines(THIRD_REQUEST)];
        for ((block, list), size) in blocks.iter().zip(lists).zip([57, 110, 164]) {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(list));
            assert_eq!(decoder.table_size(), size);
        }
    }
}

#[test]
fn responses_of_appendix_c_5_and_c_6_evict_from_a_table_of_256_bytes() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let rest = "location: https://www.example.com\r\n";
    let early = "date: Mon, 21 Oct 2013 20:13:21 GMT\r\n";
    let lists = [
        format!(":status: 302\r\ncache-control: private\r\n{early}{rest}"),
        format!(":status: 307\r\ncache-control: private\r\n{early}{rest}"),
        format!(
            ":status: 200\r\ncache-control: private\r\ndate: Mon, 21 Oct 2013 20:13:22 GMT\r\n{rest}\
             content-encoding: gzip\r\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\r\n"
        ),
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(256, 256);
        for ((block, list), size) in blocks.iter().zip(&lists).zip([222, 222, 215]) {
            assert_eq!(decode(&mut decoder, &hex(block)).as_ref(), Ok(list));
            assert_eq!(decoder.table_size(), size);
        }
    }
}

#[test]
fn integers_of_appendix_c_1() {
    for (value, prefix_bits, bytes) in [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")] {
        let mut out = Vec::new();
        integer::encode(&mut out, value, prefix_bits, 0);
        assert_eq!(out, hex(bytes));
        let mut at = 0;
        assert_eq!(integer::decode(&out, &mut at, prefix_bits), Ok(value));
        assert_eq!(at, out.len());
    }
}

#[test]
fn invalid_blocks_are_refused() {
    for (what, bytes) in [
        ("index 0", "80"),
        ("an index beyond the static table", "be"),
        ("a name index beyond the static table", "7f00 01 61"),
        ("an index beyond the dynamic table", "40 0161 0162 bf"),
        ("a name index beyond the dynamic table", "40 0161 0162 7f00 0161"),
        ("an integer without its end", "ff"),
        ("an integer that is too long", "ff ffffffffffffff7f"),
        ("an integer that is too large", "ff 80808080 10"),
        ("a literal without value", "0001 61"),
        ("a string longer than the block", "0001 61 05 61"),
        ("a huge string", "0001 61 7fffffff7f"),
        ("Huffman with 8 bits of padding", "0001 61 82 1f ff"),
        ("Huffman with padding of zeros", "0001 61 81 18"),
        ("Huffman with the end of the string", "0001 61 84 ffffffff"),
        ("Huffman with the end of the string inside", "0001 61 86 1fffffffff ff"),
        ("a table size above the limit", "3fe21f"),
        ("a table size after a field", "82 20"),
    ] {
        let mut decoder = Decoder::new(4096, 4096);
        assert_eq!(decode(&mut decoder, &hex(bytes)), Err(Invalid), "{what}");
    }
}

#[test]
fn a_reduced_table_size_must_be_announced_once_it_is_acknowledged() {
    let mut decoder = Decoder::new(4096, 100);
    assert!(decode(&mut decoder, &hex("82")).is_ok());
    decoder.acknowledged(100);
    assert_eq!(decode(&mut decoder, &hex("82")), Err(Invalid));
    let mut decoder = Decoder::new(4096, 100);
    decoder.acknowledged(100);
    assert!(decode(&mut decoder, &hex("3f45 82")).is_ok());
    assert!(decode(&mut decoder, &hex("82")).is_ok());
    assert_eq!(decode(&mut decoder, &hex("3f46 82")), Err(Invalid));
}

#[test]
fn a_field_is_inserted_when_it_repeats_and_then_costs_a_byte() {
    let mut encoder = Encoder::new(4096, 4096);
    let mut decoder = Decoder::new(4096, 4096);
    let fields = [("x-tenant", "some tenant"), ("content-type", "application/grpc")];
    let sizes = [0; 4].map(|_| {
        let block = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(lines(&fields)));
        block.len()
    });
    assert!(sizes[0] > 20 && sizes[1] > 20 && sizes[2] == 2 && sizes[3] == 2, "{sizes:?}");
}

#[test]
fn secrets_are_never_indexed() {
    let mut encoder = Encoder::new(4096, 4096);
    for field in [("authorization", "Basic x"), ("set-cookie", "a=b"), ("cookie", "short")] {
        for _ in 0..3 {
            let block = encode(&mut encoder, &[field]);
            let mut decoder = Decoder::new(4096, 4096);
            let (mut text, mut block, mut line) = (Vec::new(), Block::new(&block), Line::default());
            assert_eq!(decoder.next(&mut block, &mut text, true, &mut line), Ok(true));
            assert!(line.never_indexed, "{field:?}");
            assert_eq!(decoder.table_size(), 0);
        }
    }
}

#[test]
fn table_sizes_of_the_peer_are_announced_lowest_and_last() {
    let mut encoder = Encoder::new(4096, 4096);
    encoder.resize(0);
    encoder.resize(1000);
    encoder.resize(2000);
    let mut out = Vec::new();
    encoder.begin(&mut out);
    assert_eq!(out, hex("20 3fb10f"));
    out.clear();
    encoder.begin(&mut out);
    assert!(out.is_empty());
    encoder.resize(1 << 20);
    encoder.begin(&mut out);
    assert_eq!(out, hex("3fe11f"), "no more than our own limit");
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut table = Table::new(100);
    table.insert(b"a", b"b", FieldId::Other, 0);
    assert_eq!((table.len(), table.size()), (1, 34));
    table.insert(b"name", &[b'x'; 65], FieldId::Other, 0);
    assert_eq!((table.len(), table.size()), (0, 0));
}

#[test]
fn the_static_table_knows_its_ids() {
    for (at, entry) in statics::STATIC.iter().enumerate() {
        let name = &entry.line[..entry.name_len];
        assert_eq!(entry.id, FieldId::of(name), "{at}");
        assert!(entry.line[entry.name_len..].starts_with(b": ") && entry.line.ends_with(b"\r\n"), "{at}");
    }
    assert_eq!(statics::name_index(FieldId::WwwAuthenticate), 61);
    assert_eq!(statics::name_index(FieldId::Host), 38);
    assert_eq!(statics::name_index(FieldId::TransferEncoding), 57);
    assert_eq!(statics::name_index(FieldId::Other), 0);
}

fn field() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![Just("date".to_owned()), Just("x-a".to_owned()), "[a-z-]{1,40}"];
    let value = prop_oneof![Just(String::new()), "[ab]{1,2}", "[!-~]{0,200}"];
    (name, value)
}

proptest! {
    #[test]
    fn huffman_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut coded, mut again) = (Vec::new(), Vec::new());
        huffman::encode(&bytes, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_len(&bytes));
        prop_assert_eq!(huffman::decode(&coded, &mut again), Ok(()));
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn blocks_round_trip_whatever_the_table_sizes(
        blocks in proptest::collection::vec((proptest::collection::vec(field(), 0..20), any::<Option<u16>>()), 1..20),
    ) {
        let mut encoder = Encoder::new(4096, u32::MAX);
        let mut decoder = Decoder::new(4096, u32::MAX >> 4);
        for (fields, resize) in blocks {
            if let Some(size) = resize {
                encoder.resize(u32::from(size) % 600);
            }
            let kept = |field: &&(String, String)| {
                let dropped = ["connection", "keep-alive", "te", "upgrade", "proxy-connection", "transfer-encoding"];
                !dropped.contains(&field.0.as_str())
            };
            let fields: Vec<_> = fields.iter().filter(kept).map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let block = encode(&mut encoder, &fields);
            prop_assert_eq!(decode(&mut decoder, &block), Ok(lines(&fields)));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(blocks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..60), 1..6),
    ) {
        let mut decoder = Decoder::new(4096, 4096);
        for block in blocks {
            let (mut text, mut block, mut line) = (Vec::new(), Block::new(&block), Line::default());
            while decoder.next(&mut block, &mut text, true, &mut line) == Ok(true) {}
            prop_assert!(decoder.table_size() <= 4096);
        }
    }
}
