//! The service of schedules: as over HTTP.

use longshore_proto::v1;
use longshore_proto::v1::schedule_settings::When;
use longshore_proto::v1::set_next_slot_request::Next;
use serde_json::Value;
use tonic::Code;

use crate::harness::Server;

fn named(name: &str) -> v1::ScheduleRequest {
    v1::ScheduleRequest { name: name.into(), ..Default::default() }
}

fn put(when: When) -> v1::PutScheduleRequest {
    let job = v1::NewJob { queue: "q".into(), kind: "k".into(), ..Default::default() };
    let settings = v1::ScheduleSettings {
        when: Some(when),
        job: Some(job),
        overlap: "queue_one".into(),
        missed: "within 5m".into(),
        ..Default::default()
    };
    v1::PutScheduleRequest { name: "s".into(), settings: Some(settings), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_put_run_moved_listed_and_removed() {
    let server = Server::start().await;
    let mut schedules = server.schedules().await;
    let told = schedules.put_schedule(put(When::EveryMs(90_000))).await.unwrap().into_inner();
    let record: Value = serde_json::from_slice(&told.record).unwrap();
    assert_eq!(record["settings"]["every"], "90s");
    assert_eq!(record["settings"]["overlap"], "queue_one");
    let next = told.next_at_unix_ms.unwrap();
    let slots = v1::ListSlotsRequest { name: "s".into(), limit: 2, ..Default::default() };
    let slots = schedules.list_slots(slots).await.unwrap().into_inner().slots;
    let at: Vec<u64> = slots.iter().map(|slot| slot.at_unix_ms).collect();
    assert_eq!(at, [next, next + 90_000]);

    let run = schedules.run_schedule(named("s")).await.unwrap().into_inner();
    let schedule = run.schedule.unwrap();
    assert_eq!((schedule.last_job, schedule.next_at_unix_ms), (run.job, Some(next)));
    let to = v1::SetNextSlotRequest {
        name: "s".into(),
        next: Some(Next::AtUnixMs(next + 7)),
        ..Default::default()
    };
    let moved = schedules.set_next_slot(to).await.unwrap().into_inner();
    assert_eq!(moved.next_at_unix_ms, Some(next + 7));
    assert!(schedules.pause_schedule(named("s")).await.unwrap().into_inner().paused);
    assert!(!schedules.resume_schedule(named("s")).await.unwrap().into_inner().paused);
    let all = schedules.list_schedules(v1::ListSchedulesRequest::default()).await;
    assert_eq!(all.unwrap().into_inner().schedules.len(), 1);

    let refused = schedules.put_schedule(put(When::Cron("* * * * 9".into()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("field 5 (day of week"), "{}", refused.message());
    schedules.delete_schedule(named("s")).await.unwrap();
    let gone = schedules.get_schedule(named("s")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    server.stop().await;
}
