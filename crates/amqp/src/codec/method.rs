//! Every method, one line each: its class, its number and its fields. Reading, writing and the
//! differential tests follow from these lines.

use super::wire::{Malformed, Reader, Writer};

macro_rules! methods {
    ($($name:ident $class:literal $method:literal { $($field:ident: $type:ty),* })*) => {
        /// A method.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Method {
            $(
                #[doc = concat!("Class ", $class, ", method ", $method, ".")]
                $name(fields::$name),
            )*
        }

        #[allow(
            missing_docs,
            clippy::struct_excessive_bools,
            reason = "they are named as in the specification, and have what it says"
        )]
        pub(super) mod fields {
            use bytes::Bytes;

            use super::super::table::Table;
            use super::super::wire::{Field, Malformed, Reader, Short, Writer};

            $(
                #[derive(Clone, Debug, Default, PartialEq)]
                pub struct $name { $(pub $field: $type),* }

                impl $name {
                    pub(super) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
                        // Some have no fields.
                        let _ = &reader;
                        Ok(Self { $($field: Field::read(reader)?),* })
                    }

                    pub(super) fn write(&self, writer: &mut Writer<'_>) {
                        let _ = &writer;
                        $(self.$field.write(writer);)*
                    }
                }

                impl From<$name> for super::Method {
                    fn from(fields: $name) -> Self {
                        Self::$name(fields)
                    }
                }
            )*
        }

        impl Method {
            /// Its class and its number.
            pub fn id(&self) -> (u16, u16) {
                match self { $(Self::$name(_) => ($class, $method),)* }
            }

            fn read_fields(id: (u16, u16), reader: &mut Reader) -> Result<Self, Malformed> {
                match id {
                    $(($class, $method) => fields::$name::read(reader).map(Self::$name),)*
                    (class, method) => Err(Malformed::MethodUnknown { class, method }),
                }
            }

            fn write_fields(&self, writer: &mut Writer<'_>) {
                match self { $(Self::$name(fields) => fields.write(writer),)* }
            }
        }
    };
}

impl Method {
    /// Reads a method, all of `bytes`.
    pub fn read(bytes: bytes::Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let id = (reader.u16()?, reader.u16()?);
        let method = Self::read_fields(id, &mut reader)?;
        reader.end()?;
        Ok(method)
    }

    /// Adds it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (class, method) = self.id();
        let mut writer = Writer::new(out);
        writer.bytes(&class.to_be_bytes());
        writer.bytes(&method.to_be_bytes());
        self.write_fields(&mut writer);
    }
}

methods! {
    ConnectionStart 10 10 {
        version_major: u8, version_minor: u8, server_properties: Table, mechanisms: Bytes,
        locales: Bytes
    }
    ConnectionStartOk 10 11 {
        client_properties: Table, mechanism: Short, response: Bytes, locale: Short
    }
    ConnectionSecure 10 20 { challenge: Bytes }
    ConnectionSecureOk 10 21 { response: Bytes }
    ConnectionTune 10 30 { channel_max: u16, frame_max: u32, heartbeat: u16 }
    ConnectionTuneOk 10 31 { channel_max: u16, frame_max: u32, heartbeat: u16 }
    ConnectionOpen 10 40 { virtual_host: Short, capabilities: Short, insist: bool }
    ConnectionOpenOk 10 41 { known_hosts: Short }
    ConnectionClose 10 50 { reply_code: u16, reply_text: Short, class_id: u16, method_id: u16 }
    ConnectionCloseOk 10 51 {}
    ConnectionBlocked 10 60 { reason: Short }
    ConnectionUnblocked 10 61 {}
    ConnectionUpdateSecret 10 70 { new_secret: Bytes, reason: Short }
    ConnectionUpdateSecretOk 10 71 {}
    ChannelOpen 20 10 { out_of_band: Short }
    ChannelOpenOk 20 11 { channel_id: Bytes }
    ChannelFlow 20 20 { active: bool }
    ChannelFlowOk 20 21 { active: bool }
    ChannelClose 20 40 { reply_code: u16, reply_text: Short, class_id: u16, method_id: u16 }
    ChannelCloseOk 20 41 {}
    AccessRequest 30 10 {
        realm: Short, exclusive: bool, passive: bool, active: bool, write: bool, read: bool
    }
    AccessRequestOk 30 11 { ticket: u16 }
    ExchangeDeclare 40 10 {
        ticket: u16, exchange: Short, kind: Short, passive: bool, durable: bool, auto_delete: bool,
        internal: bool, nowait: bool, arguments: Table
    }
    ExchangeDeclareOk 40 11 {}
    ExchangeDelete 40 20 { ticket: u16, exchange: Short, if_unused: bool, nowait: bool }
    ExchangeDeleteOk 40 21 {}
    ExchangeBind 40 30 {
        ticket: u16, destination: Short, source: Short, routing_key: Short, nowait: bool,
        arguments: Table
    }
    ExchangeBindOk 40 31 {}
    ExchangeUnbind 40 40 {
        ticket: u16, destination: Short, source: Short, routing_key: Short, nowait: bool,
        arguments: Table
    }
    ExchangeUnbindOk 40 51 {}
    QueueDeclare 50 10 {
        ticket: u16, queue: Short, passive: bool, durable: bool, exclusive: bool, auto_delete: bool,
        nowait: bool, arguments: Table
    }
    QueueDeclareOk 50 11 { queue: Short, message_count: u32, consumer_count: u32 }
    QueueBind 50 20 {
        ticket: u16, queue: Short, exchange: Short, routing_key: Short, nowait: bool,
        arguments: Table
    }
    QueueBindOk 50 21 {}
    QueuePurge 50 30 { ticket: u16, queue: Short, nowait: bool }
    QueuePurgeOk 50 31 { message_count: u32 }
    QueueDelete 50 40 { ticket: u16, queue: Short, if_unused: bool, if_empty: bool, nowait: bool }
    QueueDeleteOk 50 41 { message_count: u32 }
    QueueUnbind 50 50 {
        ticket: u16, queue: Short, exchange: Short, routing_key: Short, arguments: Table
    }
    QueueUnbindOk 50 51 {}
    BasicQos 60 10 { prefetch_size: u32, prefetch_count: u16, global: bool }
    BasicQosOk 60 11 {}
    BasicConsume 60 20 {
        ticket: u16, queue: Short, consumer_tag: Short, no_local: bool, no_ack: bool,
        exclusive: bool, nowait: bool, arguments: Table
    }
    BasicConsumeOk 60 21 { consumer_tag: Short }
    BasicCancel 60 30 { consumer_tag: Short, nowait: bool }
    BasicCancelOk 60 31 { consumer_tag: Short }
    BasicPublish 60 40 {
        ticket: u16, exchange: Short, routing_key: Short, mandatory: bool, immediate: bool
    }
    BasicReturn 60 50 { reply_code: u16, reply_text: Short, exchange: Short, routing_key: Short }
    BasicDeliver 60 60 {
        consumer_tag: Short, delivery_tag: u64, redelivered: bool, exchange: Short,
        routing_key: Short
    }
    BasicGet 60 70 { ticket: u16, queue: Short, no_ack: bool }
    BasicGetOk 60 71 {
        delivery_tag: u64, redelivered: bool, exchange: Short, routing_key: Short,
        message_count: u32
    }
    BasicGetEmpty 60 72 { cluster_id: Short }
    BasicAck 60 80 { delivery_tag: u64, multiple: bool }
    BasicReject 60 90 { delivery_tag: u64, requeue: bool }
    BasicRecoverAsync 60 100 { requeue: bool }
    BasicRecover 60 110 { requeue: bool }
    BasicRecoverOk 60 111 {}
    BasicNack 60 120 { delivery_tag: u64, multiple: bool, requeue: bool }
    ConfirmSelect 85 10 { nowait: bool }
    ConfirmSelectOk 85 11 {}
    TxSelect 90 10 {}
    TxSelectOk 90 11 {}
    TxCommit 90 20 {}
    TxCommitOk 90 21 {}
    TxRollback 90 30 {}
    TxRollbackOk 90 31 {}
}
