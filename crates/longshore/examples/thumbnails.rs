//! Uploaded images, made small in the background: work for the processor, off the threads that
//! answer requests.
//!
//! `cargo run -p longshore --features embedded --example thumbnails`

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::imageops::FilterType;
use image::{ImageFormat, RgbImage};
use longshore::{Client, Context, Job, JobError, JobResult, Outcome, PerformBlocking, Worker};
use serde::{Deserialize, Serialize};

/// One upload.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "thumbs", output = Vec<String>, timeout = "5m", max_attempts = 5)]
pub(crate) struct MakeThumbnails {
    pub(crate) upload: String,
    pub(crate) widths: Vec<u32>,
}

/// Where uploads lie, and thumbnails go.
pub(crate) struct Folders {
    pub(crate) uploads: PathBuf,
    pub(crate) thumbs: PathBuf,
}

impl PerformBlocking<Folders> for MakeThumbnails {
    fn perform(self, ctx: Context<Folders>) -> JobResult<Vec<String>> {
        let Folders { uploads, thumbs } = ctx.state();
        let picture = match image::open(uploads.join(&self.upload)) {
            Ok(picture) => picture,
            // Another attempt would meet the same file.
            Err(error @ image::ImageError::Decoding(_)) => return Ok(Outcome::discard(error)),
            Err(error) => return Err(error.into()),
        };
        let mut made = Vec::new();
        for (done, width) in self.widths.iter().enumerate() {
            if ctx.is_stopped() {
                return Err(JobError::new("stopped", "the worker ends"));
            }
            ctx.progress(done as f64 / self.widths.len() as f64, format!("{width} pixels"));
            let small = picture.resize(*width, u32::MAX, FilterType::Triangle);
            let name = format!("{width}-{}.jpg", self.upload);
            // Written beside it and renamed: a run that dies leaves no half of a picture, and one
            // that comes again replaces the whole.
            let unfinished = thumbs.join(format!(".{name}.{}", ctx.id()));
            small.to_rgb8().save_with_format(&unfinished, ImageFormat::Jpeg)?;
            std::fs::rename(&unfinished, thumbs.join(&name))?;
            made.push(name);
        }
        Ok(Outcome::done(made))
    }
}

/// A picture such as users upload.
pub(crate) fn paint(path: &Path, width: u32, height: u32) -> Result<(), JobError> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 128])
    });
    picture.save_with_format(path, ImageFormat::Png)?;
    Ok(())
}

/// Uploads some pictures and returns the names of their thumbnails.
pub(crate) async fn run(client: &Client, folder: &Path) -> Result<Vec<String>, JobError> {
    let folders = Folders { uploads: folder.join("uploads"), thumbs: folder.join("thumbs") };
    std::fs::create_dir_all(&folders.uploads)?;
    std::fs::create_dir_all(&folders.thumbs)?;
    let mut jobs = Vec::new();
    for number in 0..4 {
        let upload = format!("picture-{number}.png");
        paint(&folders.uploads.join(&upload), 320, 200)?;
        jobs.push(MakeThumbnails { upload, widths: vec![160, 64] });
    }
    let jobs = client.enqueue_all(jobs).await?;
    let mut made = Vec::new();
    let worker = Worker::new(client, folders)
        .register_blocking::<MakeThumbnails>()
        // As many at once as there are processors to spare.
        .limited_queue("thumbs", 2)
        .run_until(async {
            for job in jobs {
                match job.result(Duration::from_secs(120)).await {
                    Ok(names) => made.extend(names),
                    Err(error) => eprintln!("{error}"),
                }
            }
        });
    worker.await?;
    Ok(made)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
#[allow(dead_code, reason = "tests call `run`")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = longshore::testing::EmbeddedServer::start().await?;
    let folder = tempfile::tempdir()?;
    let made = run(&server.client(), folder.path()).await.map_err(|error| error.to_string())?;
    println!("made {}", made.join(", "));
    Ok(server.stop().await?)
}
