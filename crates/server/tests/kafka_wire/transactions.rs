//! Transactions: what zombies send, what comes too late, and what readers are told.

use longshore_kafka::{api, codes};
use longshore_streams::batch::{marker, sample};

use crate::harness::{Body, Client, Server};

const ID: &str = "payments";

type Stamp = (i64, i16);

async fn init(client: &mut Client) -> Stamp {
    let mut answer =
        client.ask((api::INIT_PRODUCER_ID, 0), &Body::default().text(ID).i32(60_000)).await;
    answer.i32().unwrap();
    assert_eq!(answer.i16().unwrap(), codes::NONE);
    (answer.i64().unwrap(), answer.i16().unwrap())
}

fn asker((producer, epoch): Stamp) -> Body {
    Body::default().text(ID).i64(producer).i16(epoch)
}

async fn add(client: &mut Client, stamp: Stamp, version: i16) -> i16 {
    let body = asker(stamp).array(1, |body, _| body.text("t").array(1, |body, _| body.i32(0)));
    let mut answer = client.ask((api::ADD_PARTITIONS_TO_TXN, version), &body).await;
    answer.i32().unwrap();
    let codes = answer.array(|it| {
        it.string()?;
        it.array(|it| it.i32().and_then(|_| it.i16()))
    });
    codes.unwrap()[0][0]
}

async fn end(client: &mut Client, stamp: Stamp, (commit, version): (bool, i16)) -> i16 {
    let body = asker(stamp).i8(commit.into());
    let mut answer = client.ask((api::END_TXN, version), &body).await;
    answer.i32().unwrap();
    answer.i16().unwrap()
}

async fn append(client: &mut Client, (producer, epoch): Stamp, sequence: i32) -> Result<i64, i16> {
    let batch = sample::batch_of((producer, epoch, sequence), true, (1, 5, 0));
    client.produce("t", 0, Some(ID), &batch).await
}

/// What a reader of committed events is told: high watermark, last stable offset, producers and
/// first offsets of what was aborted, bytes.
async fn fetch(client: &mut Client) -> (i64, i64, Vec<(i64, i64)>, usize) {
    let body = Body::default().i32(-1).i32(0).i32(0).i32(1 << 20).i8(1);
    let body =
        body.array(1, |body, _| body.text("t").array(1, |body, _| body.i32(0).i64(0).i32(1 << 20)));
    let mut answer = client.ask((api::FETCH, 4), &body).await;
    answer.i32().unwrap();
    let told = answer.array(|it| {
        it.string()?;
        it.array(|it| {
            it.i32()?;
            assert_eq!(it.i16()?, codes::NONE);
            let (high, stable) = (it.i64()?, it.i64()?);
            let aborted = it.array(|it| Ok((it.i64()?, it.i64()?)))?;
            Ok((high, stable, aborted, it.bytes()?.len()))
        })
    });
    told.unwrap().remove(0).remove(0)
}

async fn latest(client: &mut Client, committed: bool) -> i64 {
    let body = Body::default()
        .i32(-1)
        .i8(committed.into())
        .array(1, |body, _| body.text("t").array(1, |body, _| body.i32(0).i64(-1)));
    let mut answer = client.ask((api::LIST_OFFSETS, 2), &body).await;
    answer.i32().unwrap();
    let offsets = answer.array(|it| {
        it.string()?;
        it.array(|it| {
            it.i32()?;
            it.i16()?;
            it.i64()?;
            it.i64()
        })
    });
    offsets.unwrap()[0][0]
}

#[tokio::test(flavor = "multi_thread")]
async fn zombies_are_fenced_with_the_codes_that_their_versions_know() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let zombie = init(&mut client).await;
    assert_eq!(append(&mut client, zombie, 0).await, Err(codes::INVALID_TXN_STATE), "not added");
    assert_eq!(add(&mut client, zombie, 0).await, codes::NONE);
    assert_eq!(append(&mut client, zombie, 0).await, Ok(0));
    let stamp = init(&mut client).await;
    assert_eq!(stamp, (zombie.0, zombie.1 + 1));
    let (high, stable, aborted, bytes) = fetch(&mut client).await;
    assert_eq!((high, stable, aborted), (2, 2, vec![(zombie.0, 0)]));
    assert!(bytes > 0, "who reads passes over it by what it is told");
    assert_eq!(append(&mut client, zombie, 1).await, Err(codes::INVALID_PRODUCER_EPOCH));
    assert_eq!(add(&mut client, zombie, 0).await, codes::INVALID_PRODUCER_EPOCH);
    assert_eq!(add(&mut client, zombie, 2).await, codes::PRODUCER_FENCED);
    assert_eq!(end(&mut client, zombie, (true, 1)).await, codes::INVALID_PRODUCER_EPOCH);
    assert_eq!(end(&mut client, zombie, (true, 2)).await, codes::PRODUCER_FENCED);
    let stranger = (zombie.0 + 1000, 0);
    assert_eq!(end(&mut client, stranger, (true, 2)).await, codes::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(end(&mut client, stamp, (true, 2)).await, codes::INVALID_TXN_STATE, "none is open");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_end_leaves_nothing_open() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let stamp = init(&mut client).await;
    assert_eq!(add(&mut client, stamp, 0).await, codes::NONE);
    assert_eq!(append(&mut client, stamp, 0).await, Ok(0));
    assert_eq!((latest(&mut client, false).await, latest(&mut client, true).await), (1, 0));
    assert_eq!(fetch(&mut client).await, (1, 0, Vec::new(), 0), "nothing while it is open");
    assert_eq!(end(&mut client, stamp, (true, 0)).await, codes::NONE);
    assert_eq!(end(&mut client, stamp, (true, 0)).await, codes::NONE, "the answer was lost");
    assert_eq!(append(&mut client, stamp, 1).await, Err(codes::INVALID_TXN_STATE), "too late");
    let (high, stable, aborted, _) = fetch(&mut client).await;
    assert_eq!((high, stable, aborted), (2, 2, Vec::new()));
    // A marker is not a client's to write, and what is in no transaction says so.
    let forged = marker((stamp.0.cast_unsigned(), 0), true, 5);
    assert_eq!(client.produce("t", 0, Some(ID), &forged).await, Err(codes::INVALID_RECORD));
    let batch = sample::batch_of((stamp.0, 0, 1), true, (1, 5, 0));
    assert_eq!(client.produce("t", 0, None, &batch).await, Err(codes::INVALID_TXN_STATE));
    let mut answer = client.ask((api::FIND_COORDINATOR, 1), &Body::default().text(ID).i8(1)).await;
    answer.i32().unwrap();
    assert_eq!(answer.i16().unwrap(), codes::NONE);
    server.stop().await;
}
