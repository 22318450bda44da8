//! Requests that take more than their share: pipelined, repeated, too long.

use longshore_kafka::input::Input;
use longshore_kafka::{api, codes};
use longshore_streams::batch::sample;

use crate::harness::{Body, Server};

const EVENT_BYTES: usize = 900_000;

fn fetch(topic: &str, offset: i64, wait_ms: i32) -> Body {
    let max_bytes = 5 << 20;
    let body = Body::default().i32(-1).i32(wait_ms).i32(1).i32(max_bytes).i8(0);
    body.array(1, |body, _| {
        body.text(topic).array(1, |body, _| body.i32(0).i64(offset).i32(max_bytes))
    })
}

/// A connection that waited for events kept the room of the fetches that it had asked for ahead,
/// and nobody else got any.
#[tokio::test(flavor = "multi_thread")]
async fn fetches_ahead_of_one_that_waits_leave_room_for_others() {
    let server = Server::start_with(|config| config.in_flight_bytes_max = 8 << 20).await;
    let mut one = server.client().await;
    one.create("t", 1).await;
    for offset in 0..8 {
        let batch = sample::batch(1, 5, EVENT_BYTES);
        assert_eq!(one.produce("t", 0, None, &batch).await, Ok(offset));
    }
    // Longer than anything may take here.
    one.send((api::FETCH, 4), &fetch("t", 8, 100_000)).await;
    for _ in 0..4 {
        one.send((api::FETCH, 4), &fetch("t", 0, 0)).await;
    }
    let mut other = server.client().await;
    for _ in 0..3 {
        let mut answer = other.ask((api::FETCH, 4), &fetch("t", 0, 0)).await;
        answer.i32().unwrap();
        let read = answer.array(|it| {
            it.string()?;
            it.array(|it| {
                it.i32()?;
                assert_eq!(it.i16()?, 0);
                it.i64()?;
                it.i64()?;
                it.nullable_array(Input::i64)?;
                it.bytes()
            })
        });
        assert!(read.unwrap()[0][0].len() > 4 * EVENT_BYTES);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_again_and_again_is_told_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 50).await;
    let body = Body::default().array(1000, |body, _| body.text("t"));
    let mut answer = client.ask((api::METADATA, 1), &body).await;
    answer
        .array(|it| {
            it.i32()?;
            it.string()?;
            it.i32()?;
            it.nullable_string()
        })
        .unwrap();
    answer.i32().unwrap();
    let topics = answer.array(|it| {
        it.i16()?;
        it.string()?;
        it.bool()?;
        it.array(|it| {
            it.i16()?;
            it.i32()?;
            it.i32()?;
            it.array(Input::i32)?;
            it.array(Input::i32)
        })
    });
    let topics = topics.unwrap();
    assert_eq!((topics.len(), topics[0].len()), (1, 50));
    let body = Body::default().array(1000, |body, _| body.text("g"));
    let mut answer = client.ask((api::DESCRIBE_GROUPS, 0), &body).await;
    let groups = answer.array(|it| {
        it.i16()?;
        for _ in 0..4 {
            it.string()?;
        }
        it.array(Input::string)
    });
    assert_eq!(groups.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_groups_and_topics_that_are_too_long_are_refused_by_name() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let long = "g".repeat(30_000);
    let offsets = |group: &str, topic: &str| {
        Body::default().text(group).array(1, |body, _| {
            body.text(topic).array(3, |body, index| body.i32(i32::try_from(index).unwrap()))
        })
    };
    let told = |mut answer: Input| {
        let topics = answer.array(|it| {
            let name = it.string()?;
            it.array(|it| {
                it.i32()?;
                it.i64()?;
                it.nullable_string()?;
                it.i16()
            })?;
            Ok(name)
        });
        (topics.unwrap(), answer.i16().unwrap())
    };
    let answer = client.ask((api::OFFSET_FETCH, 2), &offsets(&long, "t")).await;
    assert_eq!(told(answer), (Vec::new(), codes::INVALID_GROUP_ID));
    let answer = client.ask((api::OFFSET_FETCH, 2), &offsets("g", &long)).await;
    assert_eq!(told(answer), (Vec::new(), codes::NONE), "nothing is told of what cannot be");
    let answer = client.ask((api::OFFSET_FETCH, 2), &offsets("g", "t")).await;
    assert_eq!(told(answer), (vec!["t".to_owned()], codes::NONE));
    let delete = Body::default().array(1, |body, _| body.text(&long));
    let mut answer = client.ask((api::DELETE_GROUPS, 0), &delete).await;
    answer.i32().unwrap();
    let results = answer.array(|it| it.string().and_then(|_| it.i16()));
    assert_eq!(results.unwrap(), [codes::INVALID_GROUP_ID]);
    let commit = Body::default().text("g").i32(-1).text("").i64(-1).array(1, |body, _| {
        body.text(&long)
            .array(2, |body, index| body.i32(i32::try_from(index).unwrap()).i64(1).i16(-1))
    });
    let mut answer = client.ask((api::OFFSET_COMMIT, 2), &commit).await;
    let results = answer.array(|it| {
        it.string()?;
        it.array(|it| it.i32().and_then(|_| it.i16()))
    });
    assert_eq!(results.unwrap(), [[codes::INVALID_TOPIC_EXCEPTION; 2]]);
    server.stop().await;
}
