//! The examples, run against the real server.

use std::time::Duration;

use longshore::testing::EmbeddedServer;
use sqlx::SqlitePool;

#[path = "../../examples/backfill.rs"]
mod backfill;
#[path = "../../examples/thumbnails.rs"]
mod thumbnails;
#[path = "../../examples/welcome_mail.rs"]
mod welcome_mail;

#[tokio::test]
async fn each_user_gets_one_mail() {
    let server = EmbeddedServer::start().await.unwrap();
    let mut mails = welcome_mail::run(&server.client()).await.unwrap();
    mails.sort_by_key(|mail| mail.contains("bob@"));
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[0].contains("To: ada@mail.example") && mails[0].contains("Hello!"));
}

#[tokio::test]
async fn thumbnails_are_made() {
    let server = EmbeddedServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = thumbnails::run(&server.client(), folder.path()).await.unwrap();
    assert_eq!(made.len(), 8, "{made:?}");
    for name in made {
        let picture = image::open(folder.path().join("thumbs").join(&name)).unwrap();
        let width: u32 = name.split('-').next().unwrap().parse().unwrap();
        assert_eq!((picture.width(), picture.height()), (width, width * 200 / 320));
    }
}

#[tokio::test]
async fn a_backfill_outlives_deploys() {
    let server = EmbeddedServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    backfill::table(&pool, 300).await.unwrap();
    let report = backfill::run(&server.client(), &pool, Duration::from_millis(50)).await.unwrap();
    assert_eq!((report.left, report.filled_in, report.skipped), (1, 299, 1), "{report:?}");
    assert!(report.deploys > 0, "it was not interrupted once: {report:?}");
}
