//! Sign-up with a welcome mail. The request that signs a user up only hands a job over; a worker
//! sends the mail, here to a sink that stands for a mail server.
//!
//! `cargo run -p longshore --features embedded --example welcome_mail`

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use longshore::{Client, Context, Job, JobError, JobResult, Outcome, Perform, Worker};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use uuid::Uuid;

/// The job: what it needs to know travels, everything else is looked up when it runs.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "mails", max_attempts = 10, timeout = "30s")]
pub(crate) struct WelcomeMail {
    pub(crate) email: String,
}

/// What the application shares with its jobs.
pub(crate) struct App {
    pub(crate) smtp: SocketAddr,
    /// Jobs whose mail is out; in a real application a table with a unique key.
    pub(crate) sent: Mutex<HashSet<String>>,
}

impl Perform<App> for WelcomeMail {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        // A job runs at least once. Its id is the same in each run, so it tells what is done.
        if ctx.state().sent.lock().expect("not poisoned").contains(ctx.id()) {
            return Ok(Outcome::DONE);
        }
        if !self.email.contains('@') {
            return Ok(Outcome::discard(format!("\"{}\" is no address", self.email)));
        }
        // Where the worker dies between these two lines the mail goes out twice; with the same
        // Message-ID, so that the reader's program shows one.
        send(ctx.state().smtp, &self.email, ctx.id()).await?;
        ctx.state().sent.lock().expect("not poisoned").insert(ctx.id().to_owned());
        Ok(Outcome::DONE)
    }
}

/// What the handler of the sign-up form does. The job's id is chosen with the user, in the same
/// transaction: a request that is repeated hands over the same job.
pub(crate) async fn sign_up(client: &Client, email: &str, mail_job: Uuid) -> Result<(), JobError> {
    client.enqueue(WelcomeMail { email: email.to_owned() }).id(mail_job).await?;
    Ok(())
}

/// Sends a mail.
async fn send(smtp: SocketAddr, to: &str, id: &str) -> Result<(), JobError> {
    let (reader, mut writer) = TcpStream::connect(smtp).await?.into_split();
    let mut replies = BufReader::new(reader).lines();
    let body = format!(
        "Message-ID: <{id}@app.example>\r\nTo: {to}\r\nSubject: Welcome\r\n\r\nHello!\r\n.\r\n"
    );
    let dialogue = [
        (String::new(), '2'),
        ("HELO app.example\r\n".to_owned(), '2'),
        ("MAIL FROM:<hello@app.example>\r\n".to_owned(), '2'),
        (format!("RCPT TO:<{to}>\r\n"), '2'),
        ("DATA\r\n".to_owned(), '3'),
        (body, '2'),
        ("QUIT\r\n".to_owned(), '2'),
    ];
    for (words, expected) in dialogue {
        writer.write_all(words.as_bytes()).await?;
        let reply = replies.next_line().await?.unwrap_or_default();
        if !reply.starts_with(expected) {
            return Err(JobError::new("smtp", format!("{} was answered: {reply}", words.trim())));
        }
    }
    Ok(())
}

/// A mail server that keeps what it gets.
pub(crate) async fn sink() -> std::io::Result<(SocketAddr, mpsc::UnboundedReceiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (mails, kept) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_mail(stream, mails.clone()));
        }
    });
    Ok((address, kept))
}

async fn take_mail(stream: TcpStream, mails: mpsc::UnboundedSender<String>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 sink\r\n").await?;
    let (mut in_mail, mut mail) = (false, String::new());
    while let Some(line) = lines.next_line().await? {
        let reply = match (in_mail, line.as_str()) {
            (true, ".") => {
                in_mail = false;
                let _ = mails.send(std::mem::take(&mut mail));
                "250 kept\r\n"
            }
            (true, _) => {
                mail.push_str(&line);
                mail.push('\n');
                continue;
            }
            (false, "DATA") => {
                in_mail = true;
                "354 go on\r\n"
            }
            (false, "QUIT") => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        writer.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

/// Signs two users up and returns the mails that went out.
pub(crate) async fn run(client: &Client) -> Result<Vec<String>, JobError> {
    let (smtp, mut kept) = sink().await?;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    sign_up(client, "ada@mail.example", ada).await?;
    sign_up(client, "ada@mail.example", ada).await?;
    sign_up(client, "bob@mail.example", bob).await?;
    let worker = Worker::new(client, App { smtp, sent: Mutex::default() })
        .register::<WelcomeMail>()
        .run_until(async {
            for id in [ada, bob] {
                let job = client.handle::<WelcomeMail>(id.to_string());
                if let Err(error) = job.result(Duration::from_secs(60)).await {
                    eprintln!("{error}");
                }
            }
        });
    worker.await?;
    let mut mails = Vec::new();
    while let Ok(mail) = kept.try_recv() {
        mails.push(mail);
    }
    Ok(mails)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(dead_code, reason = "tests call `run`")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = longshore::testing::EmbeddedServer::start().await?;
    let mails = run(&server.client()).await.map_err(|error| error.to_string())?;
    for mail in mails {
        println!("{mail}");
    }
    Ok(server.stop().await?)
}
