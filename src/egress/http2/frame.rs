//! HTTP/2 frame headers (RFC 9113 section 4.1): nine bytes with length, type, flags and stream.

use std::fmt;

/// Bytes of a frame header.
pub(super) const HEADER_LENGTH: usize = 9;

/// The type of a frame. Types that are not in the RFC are legal and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    pub(super) const HEADERS: Self = Self(1);
    pub(super) const SETTINGS: Self = Self(4);
    pub(super) const GOAWAY: Self = Self(7);
    pub(super) const CONTINUATION: Self = Self(9);
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "DATA",
            1 => "HEADERS",
            2 => "PRIORITY",
            3 => "RST_STREAM",
            4 => "SETTINGS",
            5 => "PUSH_PROMISE",
            6 => "PING",
            7 => "GOAWAY",
            8 => "WINDOW_UPDATE",
            9 => "CONTINUATION",
            _ => return write!(f, "unknown (type {})", self.0),
        })
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes of the payload that follows.
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    /// The bit for SETTINGS and PING that answer one.
    pub(super) const ACK: u8 = 0x1;
    /// The bit for padding, whose length is the first byte of the payload.
    pub(super) const PADDED: u8 = 0x8;
    /// The bit for HEADERS with five bytes of priority.
    pub(super) const PRIORITY: u8 = 0x20;

    pub(super) fn parse(bytes: [u8; HEADER_LENGTH]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind: Kind(kind),
            flags,
            stream: stream_id([s0, s1, s2, s3]),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A stream id without its reserved bit.
pub(super) fn stream_id(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// A GOAWAY of ours: the endpoint opens no streams, so the last id is 0.
pub(super) fn go_away(code: h2::Reason) -> [u8; 17] {
    let [c0, c1, c2, c3] = u32::from(code).to_be_bytes();
    [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, c0, c1, c2, c3]
}

/// Follows the frames of one direction through pieces of any size.
#[derive(Debug)]
pub(super) struct FrameCursor {
    head: [u8; HEADER_LENGTH],
    head_length: usize,
    payload_left: usize,
}

impl FrameCursor {
    /// Starts before a frame, behind `preface` bytes that are none.
    pub(super) fn behind(preface: usize) -> Self {
        Self {
            head: [0; HEADER_LENGTH],
            head_length: 0,
            payload_left: preface,
        }
    }

    /// Whether the last frame is complete and no other has begun.
    pub(super) fn is_between_frames(&self) -> bool {
        self.head_length == 0 && self.payload_left == 0
    }

    /// Follows a piece, and calls `begin` for each frame whose header ends in it.
    pub(super) fn advance(&mut self, mut piece: &[u8], mut begin: impl FnMut(FrameHead)) {
        while !piece.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(piece.len());
                self.payload_left -= skipped;
                piece = piece.get(skipped..).unwrap_or_default();
                continue;
            }
            let (byte, rest) = piece.split_first().unwrap_or((&0, &[]));
            piece = rest;
            if let Some(place) = self.head.get_mut(self.head_length) {
                *place = *byte;
            }
            self.head_length += 1;
            if self.head_length == HEADER_LENGTH {
                let head = FrameHead::parse(self.head);
                self.head_length = 0;
                self.payload_left = head.length;
                begin(head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_through_pieces_of_any_size() {
        let frames = [
            &[0, 0, 3, 1, 4, 0x80, 0, 0, 1, 7, 7, 7][..],
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
            &[0, 1, 0, 0, 1, 0, 0, 0, 3],
            &[9; 256],
        ]
        .concat();
        for size in 1..=frames.len() {
            let mut cursor = FrameCursor::behind(0);
            let mut seen = Vec::new();
            for piece in frames.chunks(size) {
                cursor.advance(piece, |head| {
                    seen.push((head.kind.0, head.stream, head.length))
                });
            }
            assert_eq!(
                seen,
                [(1, 1, 3), (4, 0, 0), (0, 3, 256)],
                "pieces of {size}"
            );
            assert!(cursor.is_between_frames());
        }
    }

    #[test]
    fn a_goaway_of_ours_is_a_frame() {
        let frame = go_away(h2::Reason::ENHANCE_YOUR_CALM);
        assert_eq!(frame, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb]);
    }
}
