//! ClickHouse's own compressed blocks, which it reads from the body of a request that says `decompress=1`.
//!
//! A body is blocks, one behind the other, whose contents make the rows; where a block ends says nothing about where
//! a row does. Numbers are little-endian.
//!
//! | bytes | what                                                                       |
//! |-------|----------------------------------------------------------------------------|
//! | 16    | `CityHash128`, version 1.0.2, of all that follows; its upper half first    |
//! | 1     | the method: `0x82`, LZ4                                                    |
//! | 4     | bytes from the method to the block's end: 9 and the length of the data     |
//! | 4     | bytes of the content                                                       |
//! | …     | the data: the content as a raw LZ4 block                                   |
//!
//! ClickHouse checks the hash, so what a proxy, a network card or a memory on the way has damaged is refused, and not
//! stored.

const CHECKSUM_BYTES: usize = 16;
const HEAD_BYTES: usize = 9;
const METHOD_LZ4: u8 = 0x82;

/// The most that a block holds, in bytes: what ClickHouse takes at once into memory.
const CONTENT_BYTES: usize = 1024 * 1024;

/// Compresses a piece of a body: a block for each mebibyte, none for nothing (ClickHouse refuses an empty one).
pub(super) fn compress(piece: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::new();
    for content in piece.chunks(CONTENT_BYTES) {
        append(content, &mut blocks);
    }
    blocks
}

fn append(content: &[u8], blocks: &mut Vec<u8>) {
    let start = blocks.len();
    let compressed = lz4_flex::block::compress(content);
    blocks.resize(start + CHECKSUM_BYTES + HEAD_BYTES, 0);
    blocks.extend_from_slice(&compressed);
    let hashed = &mut blocks[start + CHECKSUM_BYTES..];
    hashed[0] = METHOD_LZ4;
    hashed[1..5].copy_from_slice(&size(HEAD_BYTES + compressed.len()));
    hashed[5..9].copy_from_slice(&size(content.len()));
    let checksum = cityhash_rs::cityhash_102_128(hashed).rotate_right(64);
    blocks[start..start + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

fn size(bytes: usize) -> [u8; 4] {
    // A block is a mebibyte, more or less.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the blocks hold, read as the table above says.
    fn decompress(mut blocks: &[u8]) -> Vec<u8> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        let mut contents = Vec::new();
        while !blocks.is_empty() {
            let (checksum, rest) = blocks.split_at(CHECKSUM_BYTES);
            assert_eq!(rest[0], METHOD_LZ4);
            let (block, rest) = rest.split_at(number(&rest[1..5]));
            assert_eq!(checksum, cityhash_rs::cityhash_102_128(block).rotate_right(64).to_le_bytes());
            let length = number(&block[5..9]);
            assert!((1..=CONTENT_BYTES).contains(&length), "{length}");
            let content = lz4_flex::block::decompress(&block[HEAD_BYTES..], length).unwrap();
            assert_eq!(content.len(), length);
            contents.extend(content);
            blocks = rest;
        }
        contents
    }

    #[test]
    fn blocks_are_read_as_clickhouse_writes_them() {
        // ClickHouse 26.7: SELECT repeat('weir ', 8) FORMAT RawBLOB, with compress=1.
        let answer = [
            0x71, 0x0e, 0xfd, 0x65, 0x15, 0x73, 0x71, 0x34, 0x25, 0x42, 0x14, 0xc3, 0xba, 0xd8, 0xf7, 0x1f,
            0x82, 0x18, 0, 0, 0, 0x28, 0, 0, 0, 0x5f, b'w', b'e', b'i', b'r', b' ', 0x05, 0, 0x0b, 0x50,
            b'w', b'e', b'i', b'r', b' ',
        ];
        assert_eq!(decompress(&answer), "weir ".repeat(8).as_bytes());
    }

    #[test]
    fn a_long_piece_becomes_several_blocks_and_an_empty_one_none() {
        assert!(compress(b"").is_empty());
        for length in [1, CONTENT_BYTES - 1, CONTENT_BYTES, CONTENT_BYTES + 1, 3 * CONTENT_BYTES + 5] {
            let piece: Vec<u8> = (0..=250).cycle().take(length).collect();
            assert!(decompress(&compress(&piece)) == piece, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            piece in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..5_000),
                proptest::collection::vec(0..4_u8, 0..50_000),
            ]
        ) {
            prop_assert_eq!(decompress(&compress(&piece)), piece);
        }
    }
}
