//! Field tables: kept as the bytes that they came in, and walked when somebody asks. The letters
//! of the types are those that `RabbitMQ`, Qpid and all clients use, not those of the
//! specification.

use std::fmt;

use bytes::Bytes;

use super::wire::{Field, Malformed, Reader, Short, Writer};

/// How deep tables and lists may stand in each other.
const DEPTH_MAX: usize = 32;
/// Fields and items of one table, those of the tables in it included.
const FIELDS_MAX: usize = 16_384;

/// A field table, without its length. One that came off a socket has been checked.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Table(Bytes);

/// A field of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`, and `U`, which the specification has for it.
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L`, which some clients write for it.
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: digits after the point, and the number without it.
    Decimal(u8, u32),
    /// `S`
    Text(Bytes),
    /// `x`
    Bytes(Bytes),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `A`: see [`Items::of_list`].
    List(Bytes),
    /// `F`
    Table(Table),
    /// `V`
    Nothing,
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The number, where it is a whole one.
    pub fn as_int(&self) -> Option<i64> {
        Some(match *self {
            Self::I8(value) => value.into(),
            Self::U8(value) => value.into(),
            Self::I16(value) => value.into(),
            Self::U16(value) => value.into(),
            Self::I32(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::I64(value) => value,
            _ => return None,
        })
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            b't' => Self::Bool(reader.u8()? != 0),
            b'b' => Self::I8(reader.u8()?.cast_signed()),
            b'B' => Self::U8(reader.u8()?),
            b's' | b'U' => Self::I16(reader.u16()?.cast_signed()),
            b'u' => Self::U16(reader.u16()?),
            b'I' => Self::I32(reader.u32()?.cast_signed()),
            b'i' => Self::U32(reader.u32()?),
            b'l' | b'L' => Self::I64(reader.u64()?.cast_signed()),
            b'f' => Self::F32(f32::from_bits(reader.u32()?)),
            b'd' => Self::F64(f64::from_bits(reader.u64()?)),
            b'D' => Self::Decimal(reader.u8()?, reader.u32()?),
            b'S' => Self::Text(reader.long()?),
            b'x' => Self::Bytes(reader.long()?),
            b'T' => Self::Timestamp(reader.u64()?),
            b'A' => Self::List(reader.long()?),
            b'F' => Self::Table(Table(reader.long()?)),
            b'V' => Self::Nothing,
            other => return Err(Malformed::FieldTypeUnknown(other)),
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let mut put = |letter: u8, bytes: &[u8]| {
            writer.bytes(&[letter]);
            writer.bytes(bytes);
        };
        match self {
            Self::Bool(value) => put(b't', &[u8::from(*value)]),
            Self::I8(value) => put(b'b', &value.to_be_bytes()),
            Self::U8(value) => put(b'B', &[*value]),
            Self::I16(value) => put(b's', &value.to_be_bytes()),
            Self::U16(value) => put(b'u', &value.to_be_bytes()),
            Self::I32(value) => put(b'I', &value.to_be_bytes()),
            Self::U32(value) => put(b'i', &value.to_be_bytes()),
            Self::I64(value) => put(b'l', &value.to_be_bytes()),
            Self::F32(value) => put(b'f', &value.to_be_bytes()),
            Self::F64(value) => put(b'd', &value.to_be_bytes()),
            Self::Decimal(scale, value) => {
                put(b'D', &[*scale]);
                writer.bytes(&value.to_be_bytes());
            }
            Self::Text(bytes) => long(writer, b'S', bytes),
            Self::Bytes(bytes) => long(writer, b'x', bytes),
            Self::Timestamp(value) => put(b'T', &value.to_be_bytes()),
            Self::List(bytes) => long(writer, b'A', bytes),
            Self::Table(table) => long(writer, b'F', &table.0),
            Self::Nothing => put(b'V', &[]),
        }
    }

    /// The bytes of a list of values.
    pub fn list(items: &[Self]) -> Self {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for item in items {
            item.write(&mut writer);
        }
        Self::List(out.into())
    }
}

fn long(writer: &mut Writer<'_>, letter: u8, bytes: &[u8]) {
    writer.bytes(&[letter]);
    writer.long(bytes);
}

impl Table {
    /// A table of these fields, in their order.
    pub fn of<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (name, value) in fields {
            writer.short(&Short::cut(name));
            value.write(&mut writer);
        }
        Self(out.into())
    }

    /// The same, of names that may be no text.
    pub fn of_fields(fields: impl IntoIterator<Item = (Short, Value)>) -> Self {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (name, value) in fields {
            writer.short(&name);
            value.write(&mut writer);
        }
        Self(out.into())
    }

    /// The table without the fields of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self::of_fields(self.fields().filter(|(field, _)| field.as_bytes() != name.as_bytes()))
    }

    /// A table of bytes that nobody has checked yet, without their length.
    pub fn checked(bytes: Bytes) -> Result<Self, Malformed> {
        let table = Self(bytes);
        table.check()?;
        Ok(table)
    }

    /// Its bytes, without their length.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its fields, in their order.
    pub fn fields(&self) -> Items {
        Items { reader: Reader::new(self.0.clone()), named: true }
    }

    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.fields().find(|(field, _)| field.as_bytes() == name.as_bytes()).map(|(_, value)| value)
    }

    /// Walks all of it, without recursion and without taking memory for more than its depth.
    fn check(&self) -> Result<(), Malformed> {
        let mut open = vec![Items { reader: Reader::new(self.0.clone()), named: true }];
        let mut count = 0;
        while let Some(items) = open.last_mut() {
            let Some((_, value)) = items.read()? else {
                open.pop();
                continue;
            };
            count += 1;
            if count > FIELDS_MAX {
                return Err(Malformed::TooManyFields);
            }
            let inner = match value {
                Value::List(bytes) => Items { reader: Reader::new(bytes), named: false },
                Value::Table(table) => table.fields(),
                _ => continue,
            };
            if open.len() >= DEPTH_MAX {
                return Err(Malformed::TooDeep);
            }
            open.push(inner);
        }
        Ok(())
    }
}

/// The fields of a table or the items of a list, which have no names.
#[derive(Debug)]
pub struct Items {
    reader: Reader,
    named: bool,
}

impl Items {
    /// The items of [`Value::List`].
    pub fn of_list(bytes: &Bytes) -> Self {
        Self { reader: Reader::new(bytes.clone()), named: false }
    }

    fn read(&mut self) -> Result<Option<(Short, Value)>, Malformed> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let name = if self.named { self.reader.short()? } else { Short::default() };
        Value::read(&mut self.reader).map(|value| Some((name, value)))
    }
}

impl Iterator for Items {
    type Item = (Short, Value);

    fn next(&mut self) -> Option<Self::Item> {
        // Tables were checked when they came.
        self.read().ok().flatten()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields()).finish()
    }
}

impl Field for Table {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Self::checked(reader.long()?)
    }
    fn write(&self, writer: &mut Writer<'_>) {
        writer.long(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was() {
        let inner = Table::of([("x", Value::I8(-1))]);
        let values = [
            Value::Bool(true),
            Value::I8(-8),
            Value::U8(200),
            Value::I16(-300),
            Value::U16(60_000),
            Value::I32(-70_000),
            Value::U32(4_000_000_000),
            Value::I64(i64::MIN),
            Value::F32(1.5),
            Value::F64(-0.25),
            Value::Decimal(2, 314),
            Value::text("t\u{fc}r"),
            Value::Bytes(Bytes::from_static(b"\xff\x00")),
            Value::Timestamp(1_700_000_000),
            Value::list(&[Value::I32(1), Value::Table(inner.clone())]),
            Value::Table(inner),
            Value::Nothing,
        ];
        let table = Table::of(values.iter().map(|value| ("name", value.clone())));
        let table = Table::checked(table.as_bytes().clone()).unwrap();
        let back: Vec<_> = table.fields().map(|(_, value)| value).collect();
        assert_eq!(back, values);
    }

    #[test]
    fn the_depth_and_the_number_of_fields_have_an_end() {
        let mut value = Value::Nothing;
        for _ in 0..DEPTH_MAX - 1 {
            value = Value::Table(Table::of([("", value)]));
        }
        let table = |value: &Value| Table::of([("", value.clone())]).as_bytes().clone();
        assert!(Table::checked(table(&value)).is_ok());
        let deeper = Value::Table(Table::of([("", value)]));
        assert_eq!(Table::checked(table(&deeper)), Err(Malformed::TooDeep));
        let many = [0, b'V'].repeat(FIELDS_MAX);
        assert!(Table::checked(many.clone().into()).is_ok());
        let more = [many, vec![0, b'V']].concat();
        assert_eq!(Table::checked(more.into()), Err(Malformed::TooManyFields));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[5, b'a'][..],
            &[0],
            &[0, b'S', 0xff, 0xff, 0xff, 0xff],
            &[0, b'F', 0, 0, 0, 9, 0, b'V'],
            &[0, b'?'],
            &[0, b'A', 0, 0, 0, 1, b'I'],
        ] {
            assert!(Table::checked(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }
}
