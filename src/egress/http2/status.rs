//! The status of a response, read from the beginning of its header block before h2 judges the rest of it.
//!
//! h2 gives no response at all when one field of its head is odd; but the status decides how a delivery goes on.
//! Our SETTINGS allow no dynamic table, so a block (RFC 7541) can be read without those before it. Only as much of it
//! is looked at as a status needs, which comes first (RFC 9113 section 8.3).

use crate::egress::http2::frame::{FrameHead, Kind};

/// Bytes of a header block in which the status is looked for.
const LOOKED_AT: usize = 128;
/// `:status` as a Huffman code.
const STATUS_HUFFMAN: [u8; 5] = [0xb8, 0x84, 0x8d, 0x36, 0xa3];

/// Gathers the beginning of one header block.
#[derive(Debug)]
pub(super) struct BlockBegin {
    stream: u32,
    bytes: [u8; LOOKED_AT],
    length: usize,
    /// Bytes of padding length and priority that come before the block.
    skip: usize,
}

impl BlockBegin {
    pub(super) fn new() -> Self {
        Self {
            stream: 0,
            bytes: [0; LOOKED_AT],
            length: 0,
            skip: 0,
        }
    }

    /// A frame of a header block begins.
    pub(super) fn frame_begins(&mut self, head: &FrameHead) {
        self.skip = 0;
        if head.kind == Kind::HEADERS {
            self.stream = head.stream;
            self.length = 0;
            self.skip = if head.has(FrameHead::PADDED) { 1 } else { 0 };
            self.skip += if head.has(FrameHead::PRIORITY) { 5 } else { 0 };
        }
    }

    /// A piece of the payload of the current frame. Padding is looked at like a field, which does no harm.
    pub(super) fn payload(&mut self, piece: &[u8]) {
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        for byte in piece.iter().skip(skipped) {
            let Some(place) = self.bytes.get_mut(self.length) else {
                return;
            };
            *place = *byte;
            self.length += 1;
        }
    }

    /// The stream of the block and its status, if that is final.
    pub(super) fn status(&self) -> Option<(u32, u16)> {
        let status = find(self.bytes.get(..self.length)?)?;
        (status >= 200).then_some((self.stream, status))
    }
}

/// The first status in a header block.
fn find(mut block: &[u8]) -> Option<u16> {
    loop {
        let first = *block.first()?;
        if first & 0x80 != 0 {
            let index = integer(&mut block, 7)?;
            if let Some(status) = of_static_table(index) {
                return Some(status);
            }
        } else if first & 0xe0 == 0x20 {
            integer(&mut block, 5)?;
        } else {
            let bits = if first & 0x40 != 0 { 6 } else { 4 };
            let is_status = match integer(&mut block, bits)? {
                0 => is_status_name(string(&mut block)?),
                index => (8..=14).contains(&index),
            };
            let (is_huffman, value) = string(&mut block)?;
            if is_status {
                return digits(is_huffman, value);
            }
        }
    }
}

fn of_static_table(index: usize) -> Option<u16> {
    let statuses = [200, 204, 206, 304, 400, 404, 500];
    statuses.get(index.checked_sub(8)?).copied()
}

fn is_status_name((is_huffman, name): (bool, &[u8])) -> bool {
    if is_huffman {
        name == STATUS_HUFFMAN
    } else {
        name == b":status"
    }
}

/// An integer whose first byte has `bits` of it (RFC 7541 section 5.1). None if it is cut off or absurdly large.
fn integer(block: &mut &[u8], bits: u8) -> Option<usize> {
    let (first, mut rest) = block.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in [0, 7, 14] {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Some(value);
            }
        }
        return None;
    }
    *block = rest;
    Some(value)
}

/// A string, not decoded, and whether it is a Huffman code (RFC 7541 section 5.2).
fn string<'a>(block: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let is_huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some((is_huffman, text))
}

/// Three digits. Of the Huffman code, 0 to 2 have five bits and the others six (RFC 7541 appendix B).
fn digits(is_huffman: bool, text: &[u8]) -> Option<u16> {
    if !is_huffman {
        let is_code = text.len() == 3 && text.iter().all(u8::is_ascii_digit);
        return is_code.then(|| {
            text.iter()
                .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
        });
    }
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut code = 0;
    for _ in 0..3 {
        let mut symbol = 0;
        for _ in 0..5 {
            symbol = symbol << 1 | bits.next()?;
        }
        let digit = match symbol {
            0..=2 => symbol,
            _ => (symbol << 1 | bits.next()?).checked_sub(0x19)? + 3,
        };
        if digit > 9 {
            return None;
        }
        code = code * 10 + digit;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_in_every_form() {
        for (block, expected) in [
            (&b"\x88"[..], Some(200)),
            (b"\x8e", Some(500)),
            (b"\x20\x88", Some(200)),
            (b"\x48\x03410", Some(410)),
            (b"\x08\x03299", Some(299)),
            (b"\x1e\x03503", Some(503)),
            (b"\x00\x07:status\x03201", Some(201)),
            (b"\x10\x85\xb8\x84\x8d\x36\xa3\x03429", Some(429)),
            // 302, 307 and 503 as Huffman codes: RFC 7541 appendix C.6, and made with another encoder.
            (b"\x48\x82\x64\x02", Some(302)),
            (b"\x48\x83\x64\x0e\xff", Some(307)),
            (b"\x48\x83\x6c\x0c\xff", Some(503)),
            (b"\x00\x01x\x01y\x88", Some(200)),
            (b"\x48\x032x0", None),
            (b"\x48\x0420000", None),
            (b"\x48\x03", None),
            (b"\x7f\xff\xff\xff\xff\xff", None),
            (b"", None),
        ] {
            assert_eq!(find(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 7_u32;
        for _ in 0..100_000 {
            let block: Vec<u8> = (0..state % 24)
                .map(|n| {
                    state = state
                        .wrapping_mul(1_664_525)
                        .wrapping_add(1_013_904_223 + n);
                    state.to_be_bytes()[0]
                })
                .collect();
            find(&block);
            state = state.wrapping_add(1);
        }
    }

    #[test]
    fn padding_and_continuations_do_not_hide_it() {
        let head = |kind, flags| FrameHead::parse([0, 0, 9, kind, flags, 0, 0, 0, 5]);
        let mut begin = BlockBegin::new();
        begin.frame_begins(&head(1, FrameHead::PADDED | FrameHead::PRIORITY));
        begin.payload(&[3, 0, 0]);
        begin.payload(&[0, 0, 0, 0x48]);
        begin.frame_begins(&head(9, 0));
        begin.payload(b"\x034");
        begin.frame_begins(&head(9, 0x4));
        begin.payload(b"10");
        assert_eq!(begin.status(), Some((5, 410)));
    }
}
