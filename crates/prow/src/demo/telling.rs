//! What the demo says: plain lines on standard output, one a step, and a table at the end.

use parking_lot::Mutex;
use std::path::Path;
use std::time::{Duration, Instant};

/// Collects what was seen and prints it.
pub struct Telling {
    start: Instant,
    steps: Mutex<Vec<Seen>>,
}

struct Seen {
    step: &'static str,
    at: Duration,
    /// What was seen, or why it was not.
    what: Result<String, String>,
}

/// What is said before the story.
pub struct Opening<'a> {
    pub data_dir: &'a Path,
    pub forge: String,
    pub deck: &'a str,
    pub kubeconfig: &'a Path,
    pub pods: String,
}

impl Telling {
    /// The clock of the story starts.
    pub fn start() -> Telling {
        Telling { start: Instant::now(), steps: Mutex::default() }
    }

    /// Addresses and places.
    pub fn opening(&self, opening: &Opening<'_>) {
        println!("Prow runs on this machine. The story of one pull request:\n");
        println!("  repository  {}", opening.forge);
        println!("  Deck        {}", opening.deck);
        println!("  kubectl     kubectl --kubeconfig {} get prowjobs", opening.kubeconfig.display());
        println!("  state       {}", opening.data_dir.display());
        println!("  Pods        {}\n", opening.pods);
    }

    /// A step was seen to happen, or not.
    pub fn step(&self, step: &'static str, what: Result<String, String>) {
        let at = self.start.elapsed();
        match &what {
            Ok(text) => println!("{:6.1} s  {step}: {text}", at.as_secs_f64()),
            Err(why) => println!("{:6.1} s  NOT SEEN: {step}: {why}", at.as_secs_f64()),
        }
        self.steps.lock().push(Seen { step, at, what });
    }

    /// The table.
    pub fn summary(&self) {
        let steps = self.steps.lock();
        let width = steps.iter().map(|s| s.step.len()).max().unwrap_or(4).max(4);
        println!("\n{:<width$}  {:>7}  seen", "step", "after");
        for seen in steps.iter() {
            let mark = if seen.what.is_ok() { "yes" } else { "NO" };
            println!("{:<width$}  {:>5.1} s  {mark}", seen.step, seen.at.as_secs_f64());
        }
        let missing: Vec<&str> = steps.iter().filter(|s| s.what.is_err()).map(|s| s.step).collect();
        if missing.is_empty() {
            println!(
                "\n{} steps, all seen to happen, in {:.1} s",
                steps.len(),
                self.start.elapsed().as_secs_f64()
            );
        } else {
            println!("\nmissing: {}", missing.join(", "));
        }
    }

    /// The demo goes on serving.
    pub fn keeps_serving(&self, deck: &str) {
        println!(
            "\nEverything keeps running. Look at {deck}, push to the repository, comment, change the configuration."
        );
        println!("Ctrl-C ends it and every process it started.");
    }

    /// The last line.
    pub fn goodbye(&self) {
        println!("ended; every process that was started has ended");
    }
}
