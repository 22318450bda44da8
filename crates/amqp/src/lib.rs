//! AMQP 0-9-1, as RabbitMQ speaks it: a codec, and a session that turns bytes into commands of
//! the engine and answers into bytes. It does no I/O, reads no clock, and holds nothing that must
//! survive; what messages mean is the engine's.

pub mod codec;
