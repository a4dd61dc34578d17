//! Files of sealed backups with one fault each.

use super::backup::{CHUNK_LEN, PASSPHRASE, seal, seal_with_passphrase, seal_with_seed};

/// Length of the header: everything before the chunks.
fn header_len(file: &[u8]) -> usize {
    let section = u32::from_le_bytes(file[53..57].try_into().unwrap()) as usize;
    57 + section + 48 + 32
}

/// The file with a changed header whose hash was computed again.
fn rehashed(file: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let end = header_len(file);
    let mut header = file[..end - 32].to_vec();
    change(&mut header);
    let hash = csfle_core::crypto::sha256(&header);
    [&header, &hash[..], &file[end..]].concat()
}

/// Name, comment, file, passphrase and expected code (or `ok`) of a vector.
pub(crate) type Fault = (
    &'static str,
    &'static str,
    Vec<u8>,
    Option<&'static str>,
    &'static str,
);

/// Every vector.
pub(crate) fn faults() -> Vec<Fault> {
    let file = seal("local");
    let words = seal_with_passphrase();
    let start = header_len(&file);
    let sealed_len = CHUNK_LEN + 16;
    let chunk = |index: usize| {
        file[start + index * sealed_len..file.len().min(start + (index + 1) * sealed_len)].to_vec()
    };
    let head = file[..start].to_vec();
    let flipped = |position: usize| {
        let mut out = file.clone();
        out[position] ^= 1;
        out
    };
    let other = seal_with_seed("local", 99);
    let last = file.len() - start - 2 * sealed_len;
    assert!(last > 16 && last < sealed_len, "three chunks are expected");
    let memory = |kib: u32| {
        rehashed(&words, |header| {
            header[58..62].copy_from_slice(&kib.to_le_bytes())
        })
    };
    vec![
        (
            "local-master-key",
            "a whole file under a local master key of 96 bytes 01",
            file.clone(),
            None,
            "ok",
        ),
        (
            "passphrase",
            "a whole file under a passphrase",
            words.clone(),
            Some(PASSPHRASE),
            "ok",
        ),
        (
            "passphrase-wrong",
            "another passphrase",
            words.clone(),
            Some("wrong horse"),
            "BACKUP_KEY_WRONG",
        ),
        (
            "passphrase-not-normalised",
            "a passphrase in another normal form is another passphrase to the core",
            words.clone(),
            Some("correct horse\u{301}"),
            "BACKUP_KEY_WRONG",
        ),
        (
            "passphrase-missing",
            "no passphrase for a file under one",
            words.clone(),
            None,
            "BACKUP_KEY_MISSING",
        ),
        (
            "master-key-not-configured",
            "a master key of a provider that is not configured",
            seal("aws"),
            None,
            "BACKUP_KEY_MISSING",
        ),
        (
            "empty",
            "no bytes",
            Vec::new(),
            None,
            "BACKUP_NOT_RECOGNIZED",
        ),
        (
            "magic",
            "another first byte",
            flipped(0),
            None,
            "BACKUP_NOT_RECOGNIZED",
        ),
        (
            "version",
            "version 2",
            rehashed(&file, |header| header[8] = 2),
            None,
            "BACKUP_VERSION_UNSUPPORTED",
        ),
        (
            "header-damaged",
            "a bit of the file id flipped",
            flipped(20),
            None,
            "BACKUP_HEADER_INVALID",
        ),
        (
            "header-cut",
            "the header ends in its key section",
            file[..80].to_vec(),
            None,
            "BACKUP_HEADER_INVALID",
        ),
        (
            "key-method-unknown",
            "key method 3",
            rehashed(&file, |header| header[9] = 3),
            None,
            "BACKUP_HEADER_INVALID",
        ),
        (
            "key-section-too-long",
            "a key section of 4 GiB",
            rehashed(&file, |header| header[53..57].fill(0xff)),
            None,
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "chunk-length-zero",
            "chunks of no bytes",
            rehashed(&file, |header| header[10..14].fill(0)),
            None,
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "argon2-memory-too-much",
            "Argon2id with 4 TiB",
            memory(u32::MAX),
            Some(PASSPHRASE),
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "argon2-memory-too-little",
            "Argon2id with 8 KiB",
            memory(8),
            Some(PASSPHRASE),
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "argon2-iterations-too-many",
            "Argon2id with 2^32 - 1 passes",
            rehashed(&words, |header| header[62..66].fill(0xff)),
            Some(PASSPHRASE),
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "argon2-lanes-zero",
            "Argon2id without lanes",
            rehashed(&words, |header| header[66..70].fill(0)),
            Some(PASSPHRASE),
            "BACKUP_LIMIT_EXCEEDED",
        ),
        (
            "salt-changed",
            "another salt, hash of the header computed again",
            rehashed(&words, |header| header[70] ^= 1),
            Some(PASSPHRASE),
            "BACKUP_KEY_WRONG",
        ),
        (
            "file-id-changed",
            "another file id, hash of the header computed again",
            rehashed(&file, |header| header[20] ^= 1),
            None,
            "BACKUP_KEY_WRONG",
        ),
        (
            "chunk-length-changed",
            "another chunk length, hash of the header computed again",
            rehashed(&file, |header| {
                header[10..14].copy_from_slice(&2048u32.to_le_bytes())
            }),
            None,
            "BACKUP_KEY_WRONG",
        ),
        (
            "content-key-changed",
            "a bit of the wrapped content key flipped, hash of the header computed again",
            rehashed(&file, |header| *header.last_mut().unwrap() ^= 1),
            None,
            "BACKUP_KEY_WRONG",
        ),
        (
            "header-of-another-file",
            "header of one file, chunks of another under the same master key",
            [&other[..header_len(&other)], &file[start..]].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "chunk-of-another-file",
            "the second chunk is that of another file under the same master key",
            [
                &head[..],
                &chunk(0),
                &other[start + sealed_len..start + 2 * sealed_len],
                &chunk(2),
            ]
            .concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "chunk-damaged",
            "a bit of the first chunk flipped",
            flipped(start),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "tag-damaged",
            "the last bit of the file flipped",
            flipped(file.len() - 1),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "chunks-reordered",
            "the first two chunks exchanged",
            [&head[..], &chunk(1), &chunk(0), &chunk(2)].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "chunk-doubled",
            "the second chunk twice",
            [&head[..], &chunk(0), &chunk(1), &chunk(1), &chunk(2)].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "chunk-removed",
            "without the second chunk",
            [&head[..], &chunk(0), &chunk(2)].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "truncated-after-chunk",
            "cut after the second chunk",
            file[..start + 2 * sealed_len].to_vec(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "truncated-in-chunk",
            "one byte short",
            file[..file.len() - 1].to_vec(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "truncated-after-header",
            "no chunk",
            head.clone(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "byte-appended",
            "one byte more",
            [&file[..], &[0]].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "empty-chunk-appended",
            "sixteen bytes more",
            [&file[..], &[0; 16]].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
        (
            "file-doubled",
            "the file twice",
            [&file[..], &file[..]].concat(),
            None,
            "BACKUP_CHUNK_DAMAGED",
        ),
    ]
}
