//! Content headers: how long a body is, and its properties.

use bytes::Bytes;

use super::table::Table;
use super::wire::{Field, Malformed, Reader, Short, Writer};

/// The only class that has content.
const BASIC: u16 = 60;

/// What stands between a method with content and its body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContentHeader {
    /// Bytes of the body.
    pub body_bytes: u64,
    /// What is said of it.
    pub properties: Properties,
}

macro_rules! properties {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $flag:literal,)*) => {
        /// The properties of a message.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Properties {
            $($(#[doc = $doc])* pub $field: Option<$type>,)*
        }

        impl Properties {
            fn read(reader: &mut Reader) -> Result<Self, Malformed> {
                let flags = reader.u16()?;
                // The lowest bit would say that more flags follow, and 14 is all there are.
                if flags & 0b11 != 0 {
                    return Err(Malformed::FlagsUnknown(flags));
                }
                Ok(Self { $($field: read_if(flags & (1 << $flag) != 0, reader)?,)* })
            }

            fn write(&self, writer: &mut Writer<'_>) {
                let mut flags = 0_u16;
                $(flags |= u16::from(self.$field.is_some()) << $flag;)*
                flags.write(writer);
                $(if let Some(value) = &self.$field { value.write(writer); })*
            }
        }
    };
}

properties! {
    /// A MIME type.
    content_type: Short = 15,
    /// A MIME encoding.
    content_encoding: Short = 14,
    /// The headers.
    headers: Table = 13,
    /// 2 for a message that is to be kept on disk.
    delivery_mode: u8 = 12,
    /// The highest first.
    priority: u8 = 11,
    /// Which request it answers.
    correlation_id: Short = 10,
    /// The queue for an answer.
    reply_to: Short = 9,
    /// Milliseconds, as a text.
    expiration: Short = 8,
    /// The application's identity of it.
    message_id: Short = 7,
    /// Seconds since 1970.
    timestamp: u64 = 6,
    /// The application's name of its type.
    kind: Short = 5,
    /// Who published it.
    user_id: Short = 4,
    /// What published it.
    app_id: Short = 3,
    /// Of an older version.
    cluster_id: Short = 2,
}

fn read_if<T: Field>(is_there: bool, reader: &mut Reader) -> Result<Option<T>, Malformed> {
    if is_there { T::read(reader).map(Some) } else { Ok(None) }
}

impl Properties {
    /// Reads properties with their flags, all of `bytes`.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let properties = Self::read(&mut reader)?;
        reader.end()?;
        Ok(properties)
    }

    /// Properties with their flags, as [`Properties::from_bytes`] reads them.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        self.write(&mut Writer::new(&mut out));
        out.into()
    }
}

impl ContentHeader {
    /// Reads a header, all of `bytes`.
    pub fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let class = reader.u16()?;
        if class != BASIC {
            return Err(Malformed::ClassUnknown(class));
        }
        // The weight, which means nothing.
        reader.u16()?;
        let body_bytes = reader.u64()?;
        let properties = Properties::read(&mut reader)?;
        reader.end()?;
        Ok(Self { body_bytes, properties })
    }

    /// Adds it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_head(out, self.body_bytes);
        self.properties.write(&mut Writer::new(out));
    }
}

/// Adds what comes before the properties.
pub(super) fn write_head(out: &mut Vec<u8>, body_bytes: u64) {
    let mut writer = Writer::new(out);
    BASIC.write(&mut writer);
    0_u16.write(&mut writer);
    body_bytes.write(&mut writer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_back_in_their_order() {
        let text = |text: &str| Some(Short::cut(text));
        let properties = Properties {
            content_type: text("a/b"),
            headers: Some(Table::of([("h", super::super::Value::I32(1))])),
            delivery_mode: Some(2),
            expiration: text("1000"),
            timestamp: Some(7),
            cluster_id: text("c"),
            ..Properties::default()
        };
        let header = ContentHeader { body_bytes: u64::MAX, properties };
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(ContentHeader::read(out.clone().into()).as_ref(), Ok(&header));
        let bytes = header.properties.to_bytes();
        assert_eq!(Properties::from_bytes(bytes).as_ref(), Ok(&header.properties));
        for end in 0..out.len() {
            let cut = Bytes::copy_from_slice(&out[..end]);
            assert_eq!(ContentHeader::read(cut), Err(Malformed::CutShort), "{end}");
        }
        out.push(0);
        assert_eq!(ContentHeader::read(out.into()), Err(Malformed::Trailing));
    }

    #[test]
    fn flags_that_mean_nothing_are_refused() {
        for flags in [1_u16, 2] {
            let bytes = Bytes::copy_from_slice(&flags.to_be_bytes());
            assert_eq!(Properties::from_bytes(bytes), Err(Malformed::FlagsUnknown(flags)));
        }
    }
}
