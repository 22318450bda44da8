//! Workers from the command line.

use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::workers_client::WorkersClient;
use longshore_proto::v1::{self, WorkerState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::harness::Server;

#[test]
fn workers_are_listed_shown_and_asked_to_stop() {
    let server = Server::start();
    let none = server.run(&["workers", "list"]);
    assert!(none.err.contains("no workers"), "{none:?}");
    let said = server.run(&["workers", "show", "mailer"]).bad(3);
    assert!(said.contains("no worker \"mailer\" is connected"), "{said}");

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (tells, told) = mpsc::channel(4);
    let hello = v1::Hello {
        name: "mailer".into(),
        session: "s-1".into(),
        host: "host-7".into(),
        queues: vec![v1::QueueWish { queue: "mail".into(), weight: 3 }],
        concurrency: 12,
        ..Default::default()
    };
    let mut heard = runtime.block_on(async {
        let server = Endpoint::from_shared(server.url()).unwrap();
        let mut client = WorkersClient::new(server.connect().await.unwrap());
        tells.send(v1::WorkerMessage { message: Some(Tells::Hello(hello)) }).await.unwrap();
        let mut heard = client.work(ReceiverStream::new(told)).await.unwrap().into_inner();
        assert!(heard.message().await.unwrap().is_some(), "no welcome");
        heard
    });
    let list = server.run(&["workers", "list"]).good();
    for word in ["mailer", "working", "host-7", "mail=3", "12"] {
        assert!(list.contains(word), "{word}: {list}");
    }
    let shown = server.run(&["workers", "show", "s-1"]).good();
    assert!(shown.contains("mailer") && shown.contains("last heard of"), "{shown}");
    assert_eq!(server.run(&["workers", "quiet", "mailer"]).good().trim(), "mailer is quiet");
    let message = runtime.block_on(heard.message()).unwrap().unwrap().message.unwrap();
    assert!(matches!(&message, Told::Control(it) if it.worker() == WorkerState::Quiet));
    let said = server.run(&["workers", "terminate", "mailer"]).good();
    assert_eq!(said.trim(), "mailer is terminating");
    let shown = server.run(&["workers", "show", "mailer", "-o", "json"]).json();
    assert_eq!(shown["state"], "terminating");
}
