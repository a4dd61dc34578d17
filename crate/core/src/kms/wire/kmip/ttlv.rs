//! Tag, type, length, value (KMIP 1.2 section 9.1): 3 + 1 + 4 bytes, and a value filled up with zeros to 8 bytes.

use crate::kms::wire::writer::SecretWriter;

const HEADER_LEN: usize = 8;
/// The answers read here are seven levels deep.
const MAX_DEPTH: usize = 16;

/// What an item is about. The number is the last two bytes of the tag; the first one is always 0x42.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Tag {
    Attribute = 0x08,
    AttributeName = 0x0a,
    AttributeValue = 0x0b,
    BatchCount = 0x0d,
    BatchItem = 0x0f,
    BlockCipherMode = 0x11,
    CryptographicAlgorithm = 0x28,
    CryptographicParameters = 0x2b,
    IvCounterNonce = 0x3d,
    KeyBlock = 0x40,
    KeyFormatType = 0x42,
    KeyMaterial = 0x43,
    KeyValue = 0x45,
    ObjectType = 0x57,
    Operation = 0x5c,
    PaddingMethod = 0x5f,
    ProtocolVersion = 0x69,
    ProtocolVersionMajor = 0x6a,
    ProtocolVersionMinor = 0x6b,
    RequestHeader = 0x77,
    RequestMessage = 0x78,
    RequestPayload = 0x79,
    ResponseMessage = 0x7b,
    ResponsePayload = 0x7c,
    ResultMessage = 0x7d,
    ResultReason = 0x7e,
    ResultStatus = 0x7f,
    SecretData = 0x85,
    SecretDataType = 0x86,
    TemplateAttribute = 0x91,
    UniqueIdentifier = 0x94,
    Data = 0xc2,
    RandomIv = 0xc5,
}

impl Tag {
    /// The name in the specification, for error messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Attribute => "Attribute",
            Self::AttributeName => "AttributeName",
            Self::AttributeValue => "AttributeValue",
            Self::BatchCount => "BatchCount",
            Self::BatchItem => "BatchItem",
            Self::BlockCipherMode => "BlockCipherMode",
            Self::CryptographicAlgorithm => "CryptographicAlgorithm",
            Self::CryptographicParameters => "CryptographicParameters",
            Self::IvCounterNonce => "IVCounterNonce",
            Self::KeyBlock => "KeyBlock",
            Self::KeyFormatType => "KeyFormatType",
            Self::KeyMaterial => "KeyMaterial",
            Self::KeyValue => "KeyValue",
            Self::ObjectType => "ObjectType",
            Self::Operation => "Operation",
            Self::PaddingMethod => "PaddingMethod",
            Self::ProtocolVersion => "ProtocolVersion",
            Self::ProtocolVersionMajor => "ProtocolVersionMajor",
            Self::ProtocolVersionMinor => "ProtocolVersionMinor",
            Self::RequestHeader => "RequestHeader",
            Self::RequestMessage => "RequestMessage",
            Self::RequestPayload => "RequestPayload",
            Self::ResponseMessage => "ResponseMessage",
            Self::ResponsePayload => "ResponsePayload",
            Self::ResultMessage => "ResultMessage",
            Self::ResultReason => "ResultReason",
            Self::ResultStatus => "ResultStatus",
            Self::SecretData => "SecretData",
            Self::SecretDataType => "SecretDataType",
            Self::TemplateAttribute => "TemplateAttribute",
            Self::UniqueIdentifier => "UniqueIdentifier",
            Self::Data => "Data",
            Self::RandomIv => "RandomIV",
        }
    }

    const fn bytes(self) -> [u8; 3] {
        let [high, low] = (self as u16).to_be_bytes();
        [0x42, high, low]
    }
}

/// How the value of an item is written.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Structure = 1,
    Integer = 2,
    Enumeration = 5,
    Boolean = 6,
    Text = 7,
    Bytes = 8,
}

/// What tags begin with: those of the standard, and extensions.
const TAG_RANGES: [u8; 2] = [0x42, 0x54];

/// Writes items one after the other.
pub(super) struct Writer(SecretWriter);

impl Writer {
    pub(super) fn new() -> Self {
        Self(SecretWriter::new())
    }

    pub(super) fn finish(self) -> SecretWriter {
        self.0
    }

    pub(super) fn structure(&mut self, tag: Tag, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::new();
        write(&mut inner);
        // Items are filled up, so that structures need not be.
        self.header(tag, Kind::Structure, inner.0.len());
        self.0.append(&inner.0);
    }

    pub(super) fn integer(&mut self, tag: Tag, value: u32) {
        self.item(tag, Kind::Integer, &value.to_be_bytes());
    }

    pub(super) fn enumeration(&mut self, tag: Tag, value: u32) {
        self.item(tag, Kind::Enumeration, &value.to_be_bytes());
    }

    pub(super) fn boolean(&mut self, tag: Tag, value: bool) {
        self.item(tag, Kind::Boolean, &u64::from(value).to_be_bytes());
    }

    pub(super) fn text(&mut self, tag: Tag, value: &str) {
        self.item(tag, Kind::Text, value.as_bytes());
    }

    pub(super) fn bytes(&mut self, tag: Tag, value: &[u8]) {
        self.item(tag, Kind::Bytes, value);
    }

    pub(super) fn secret_bytes(&mut self, tag: Tag, value: &[u8]) {
        self.header(tag, Kind::Bytes, value.len());
        self.0.push_secret(value);
        self.fill(value.len());
    }

    fn item(&mut self, tag: Tag, kind: Kind, value: &[u8]) {
        self.header(tag, kind, value.len());
        self.0.push(value);
        self.fill(value.len());
    }

    fn header(&mut self, tag: Tag, kind: Kind, len: usize) {
        self.0.push(&tag.bytes());
        self.0.push(&[kind as u8]);
        let len = u32::try_from(len)
            .expect("what is wrapped, and key ids of documents, have less than 4 GiB");
        self.0.push(&len.to_be_bytes());
    }

    fn fill(&mut self, len: usize) {
        self.0.space(len.next_multiple_of(8) - len);
    }
}

/// The items of one structure, read only as far as they are looked for.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    items: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self {
            items: message,
            depth: 0,
        }
    }

    pub(super) fn structure(&self, tag: Tag) -> Option<Self> {
        let items = self.find(tag, Kind::Structure)?;
        let depth = self.depth + 1;
        (depth <= MAX_DEPTH).then_some(Self { items, depth })
    }

    pub(super) fn enumeration(&self, tag: Tag) -> Option<u32> {
        let value = self.find(tag, Kind::Enumeration)?;
        value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn text(&self, tag: Tag) -> Option<&'a str> {
        core::str::from_utf8(self.find(tag, Kind::Text)?).ok()
    }

    pub(super) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.find(tag, Kind::Bytes)
    }

    /// The first item with this tag and type. Nothing after a malformed item is found.
    ///
    /// COMPAT: a tag outside of the ranges that KMIP has is malformed; for libmongocrypt, an extension is so too.
    fn find(&self, tag: Tag, kind: Kind) -> Option<&'a [u8]> {
        let mut rest = self.items;
        while let Some((head, body)) = rest.split_at_checked(HEADER_LEN) {
            let len = u32::from_be_bytes(head[4..].try_into().ok()?) as usize;
            let filled_len = len.checked_next_multiple_of(8)?;
            let (value, fill) = body.get(..filled_len)?.split_at(len);
            if fill.iter().any(|byte| *byte != 0) || !TAG_RANGES.contains(&head[0]) {
                return None;
            }
            if head[..3] == tag.bytes() && head[3] == kind as u8 {
                return Some(value);
            }
            rest = &body[filled_len..];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec::Vec};

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new();
        write(&mut writer);
        writer.finish().expose().to_vec()
    }

    // KMIP 1.2 section 9.1.2 shows these, with tag 420020; here they have a tag that is used.
    #[test]
    fn the_examples_of_the_specification_are_written() {
        for (bytes, expected) in [
            (
                written(|w| w.integer(Tag::Data, 8)),
                "4200c202000000040000000800000000",
            ),
            (
                written(|w| w.enumeration(Tag::Data, 255)),
                "4200c20500000004000000ff00000000",
            ),
            (
                written(|w| w.boolean(Tag::Data, true)),
                "4200c206000000080000000000000001",
            ),
            (
                written(|w| w.text(Tag::Data, "Hello World")),
                "4200c2070000000b48656c6c6f20576f726c640000000000",
            ),
            (
                written(|w| w.bytes(Tag::Data, &[1, 2, 3])),
                "4200c208000000030102030000000000",
            ),
            (
                written(|w| {
                    w.structure(Tag::Data, |w| {
                        w.enumeration(Tag::ObjectType, 254);
                        w.integer(Tag::BatchCount, 255);
                    });
                }),
                "4200c201000000204200570500000004000000fe0000000042000d0200000004000000ff00000000",
            ),
        ] {
            assert_eq!(hex::encode(bytes), expected);
        }
    }

    #[test]
    fn what_was_written_is_found() {
        let message = written(|w| {
            w.structure(Tag::BatchItem, |w| {
                w.enumeration(Tag::ResultStatus, 3);
                w.text(Tag::UniqueIdentifier, "é");
                w.secret_bytes(Tag::Data, b"123456789");
                w.text(Tag::UniqueIdentifier, "second");
            });
        });
        let item = Reader::new(&message).structure(Tag::BatchItem).unwrap();
        assert_eq!(item.enumeration(Tag::ResultStatus), Some(3));
        assert_eq!(item.text(Tag::UniqueIdentifier), Some("é"));
        assert_eq!(item.bytes(Tag::Data), Some(&b"123456789"[..]));
        assert_eq!(item.bytes(Tag::UniqueIdentifier), None, "another type");
        assert!(item.structure(Tag::ResponsePayload).is_none());
        assert!(Reader::new(&message).text(Tag::UniqueIdentifier).is_none());
    }

    #[test]
    fn malformed_items_end_the_search() {
        let find = |hex_bytes: &str| {
            let bytes = hex::decode(hex_bytes).unwrap();
            Reader::new(&bytes).enumeration(Tag::ResultStatus)
        };
        let good = "42007f05000000040000000100000000";
        assert_eq!(find(good), Some(1));
        for bad in [
            "42007f0500000004000000010000000",
            "42007f05000000040000000100",
            "42007f05000000030000010000000000",
            "42007f0500000008 0000000000000001",
            "42007f05000000040000000100000001",
            "42007f05fffffff80000000100000000",
            "42007f05ffffffff0000000100000000",
            "4a007f05000000040000000100000000",
        ] {
            let mut bad: String = bad.split(' ').collect();
            if bad.len() % 2 == 1 {
                bad.pop();
            }
            assert_eq!(find(&bad), None, "{bad}");
            if !bad.starts_with("42007f0500000003") && !bad.starts_with("42007f0500000008") {
                assert_eq!(find(&(bad + good)), None, "nothing is found after it");
            }
        }
        assert_eq!(
            find("42007e0500000004000000010000000142007f05000000040000000100000000"),
            None
        );
        let extension = String::from("54007f05000000040000000200000000");
        assert_eq!(find(&(extension + good)), Some(1));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut message = Vec::new();
        for _ in 0..40 {
            let inner = message;
            let mut outer = alloc::vec![0x42, 0, 0xc2, 1];
            outer.extend_from_slice(&u32::try_from(inner.len()).unwrap().to_be_bytes());
            outer.extend_from_slice(&inner);
            message = outer;
        }
        let mut reader = Reader::new(&message);
        let mut levels = 0;
        while let Some(inner) = reader.structure(Tag::Data) {
            reader = inner;
            levels += 1;
        }
        assert_eq!(levels, MAX_DEPTH);
    }
}
