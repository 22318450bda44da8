//! How messages become bytes and come from them: as everywhere, but with small buffers, since
//! thousands of streams do nothing but be there, and with a bound on what a message may grow to in
//! memory, since an empty part takes two bytes on the wire and hundreds here.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

/// Messages up to this size are not looked through: they cannot grow to much.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// Parts (messages, texts, bytes) of one message, however deep they lie: more than a bulk of 10,000
/// jobs has with every field set.
const PARTS_MAX: usize = 250_000;
/// How deep parts lie within each other: deeper than any message's.
const DEPTH_MAX: usize = 8;
/// What a stream reserves before anything is said, and how much is written at once.
const BUFFERS: (usize, usize) = (1 << 10, 32 << 10);

/// Encodes messages of type `T` and decodes those of type `U` within bounds.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFERS.0, BUFFERS.1))
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Reads messages of bounded size in memory.
#[derive(Clone, Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The whole message lies in one piece.
        let length = buffer.remaining();
        let bytes = buffer.chunk().get(..length).unwrap_or_default();
        check(bytes).map_err(Status::invalid_argument)?;
        match U::decode(buffer) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                let detail = format!("the message cannot be read: {error}");
                Err(Status::invalid_argument(detail))
            }
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

/// Refuses bytes that would grow to too much in memory.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() <= SMALL_BYTES_MAX {
        return Ok(());
    }
    let mut parts = 0;
    // What is no message is left to whoever reads it.
    let _ = count(bytes, DEPTH_MAX, &mut parts);
    if parts <= PARTS_MAX {
        return Ok(());
    }
    Err(format!("the message has more than {PARTS_MAX} parts; send several smaller ones"))
}

/// Adds the parts of what may be a message, whatever its schema: texts are nearly never sound as
/// one, and then count as the one part that they are. None: it is no message, or there are too
/// many.
fn count(mut bytes: &[u8], depth: usize, parts: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (part, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                *parts += 1;
                if *parts > PARTS_MAX {
                    return None;
                }
                if depth > 0 {
                    let before = *parts;
                    if count(part, depth - 1, parts).is_none() && *parts <= PARTS_MAX {
                        *parts = before;
                    }
                }
            }
            _ => return None,
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn the_largest_bulk_is_read() {
        let job = v1::NewJob {
            id: "0192f0c1-2345-7000-8000-000000000001".into(),
            kind: "kind".into(),
            args: vec![b'7'; 100].into(),
            tags: vec!["tag".into(); 5],
            metadata: vec![b' '; 50].into(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            ..Default::default()
        };
        let request = v1::EnqueueRequest { jobs: vec![job; 10_000], ..Default::default() };
        assert_eq!(check(&request.encode_to_vec()), Ok(()));
    }

    #[test]
    fn parts_that_take_next_to_nothing_on_the_wire_are_bounded() {
        let held = vec![v1::HeldLease::default(); PARTS_MAX + 1];
        let hello = v1::Hello { held, ..Default::default() };
        let message = v1::worker_message::Message::Hello(hello);
        let message = v1::WorkerMessage { message: Some(message) };
        assert!(check(&message.encode_to_vec()).is_err());

        let ack = v1::Ack { enqueue: vec![v1::NewJob::default(); 1000], ..Default::default() };
        let verdict = Some(v1::settlement::Verdict::Ack(ack));
        let settlement = v1::Settlement { verdict, ..Default::default() };
        let settle = v1::Settle { settlements: vec![settlement; 300] };
        let message = v1::worker_message::Message::Settle(settle);
        let message = v1::WorkerMessage { message: Some(message) };
        assert!(check(&message.encode_to_vec()).is_err());
    }

    #[test]
    fn what_is_no_message_is_left_to_the_reader() {
        for bytes in
            [vec![0xff; 100_000], vec![0x0a; 100_000], vec![b'{'; 100_000], vec![0; 100_000]]
        {
            assert_eq!(check(&bytes), Ok(()));
        }
    }
}
