//! `demo`: the product shown on a fresh machine with no registry in reach, on a real image, with real output.

use crate::image::{Image, Recipe};
use crate::larder::{Larder, Profile};
use crate::relay::Relay;
use crate::workspace::Workspace;
use crate::{enclosure, packages, program};
use anyhow::{Context, Result, bail, ensure};
use larder_testkit::nodes::{Engine, Fleet};
use larder_testkit::{DockerRegistry, tools};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Set on the command that runs inside the enclosure.
    #[arg(long, hide = true)]
    inside: bool,
}

const IMAGE: Recipe = Recipe {
    name: "demo",
    version: 1,
    variant: "minbase",
    packages: &[&["python3-minimal", "libpython3-stdlib"], &["git"]],
};
/// The cluster that is looked through.
const CLUSTER: [(&str, &str); 6] = [
    ("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\nappVersion: '12'\n"),
    ("chart/values.yaml", "image: {repository: REGISTRY/demo/debian}\n"),
    (
        "chart/templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n      \
         - name: web\n        image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\n",
    ),
    (
        "deploy/base/job.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: move}\nspec:\n  template:\n    spec:\n      \
         containers: [{name: move, image: 'debian:dev'}]\n",
    ),
    ("deploy/base/kustomization.yaml", "resources: [job.yaml]\n"),
    (
        "deploy/prod/kustomization.yaml",
        "resources: [../base]\nimages:\n- {name: debian, newName: REGISTRY/demo/debian, newTag: '12'}\n",
    ),
];
/// What a node is made of.
const NODE: [&str; 8] = ["ip", "ssh", "sshd", "ssh-keygen", "nsenter", "containerd", "ctr", "runc"];
/// A line slow enough that progress can be watched and a pull be killed in its middle.
const LINE_BYTES_PER_SECOND: u64 = 16 << 20;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.inside {
        packages::require(packages::FOR_DEMO)?;
        Larder::build(Profile::Development)?;
        // From here on nothing can be left behind: mounts and processes end with the enclosure.
        return enclosure::enter();
    }
    let start = Instant::now();
    let demo = Demo::prepare()?;
    demo.pull()?;
    demo.look()?;
    demo.run_from_it()?;
    demo.kill_and_resume()?;
    demo.check()?;
    demo.discover()?;
    demo.deliver()?;
    let demo = demo.serve()?;
    demo.close(start.elapsed());
    Ok(())
}

struct Demo {
    larder: Larder,
    place: tempfile::TempDir,
    /// Runs as long as this value lives.
    registry: Option<DockerRegistry>,
    relay: Relay,
    image: Image,
    reference: String,
}

impl Demo {
    fn prepare() -> Result<Self> {
        title("A registry on this machine, and a real image in it");
        let target = Workspace::read()?.target;
        let binary = target.join("debug/larder");
        let place = tempfile::Builder::new().prefix("larder-demo").tempdir()?;
        let image = IMAGE.build(&target.join("demo"))?;
        let registry = DockerRegistry::start().context("docker-registry does not start")?;
        image.push(&format!("{}/demo/debian:12", registry.address()))?;
        let relay = Relay::start(registry.address())?;
        let reference = format!("{}/demo/debian:12", relay.address());
        println!(
            "Debian's docker-registry serves {reference}: {} layers, {}",
            image.layers()?.len(),
            megabytes(size(&image)?)
        );
        println!(
            "(a relay in front of it makes the line {} a second, so that there is something to watch)",
            megabytes(LINE_BYTES_PER_SECOND)
        );
        let larder = Larder::new(binary, place.path().join("larder"));
        Ok(Self { larder, place, registry: Some(registry), relay, image, reference })
    }

    fn pull(&self) -> Result<()> {
        title("Pull: every byte is hashed while it arrives");
        self.relay.limit(Some(LINE_BYTES_PER_SECOND));
        self.show(&["pull", &self.reference])?;
        println!("\nAgain: nothing to do.");
        self.relay.limit(None);
        self.show(&["pull", &self.reference])
    }

    fn look(&self) -> Result<()> {
        title("What is in the store");
        self.show(&["list"])?;
        self.show(&["inspect", &self.reference])?;
        self.show(&["stats"])
    }

    fn run_from_it(&self) -> Result<()> {
        title("Mount it, without writing a single file, and run programs from inside");
        let root = self.place.path().join("rootfs");
        let path = root.to_string_lossy().into_owned();
        self.show(&["mount", &self.reference, &path])?;
        let script = "import platform,sys; print('Python', sys.version.split()[0], 'on', \
                      platform.freedesktop_os_release()['PRETTY_NAME'])";
        show(Command::new("chroot").arg(&root).args(["/usr/bin/python3", "-c", script]))?;
        show(Command::new("chroot").arg(&root).args(["/usr/bin/git", "--version"]))?;
        self.show(&["unmount", &path])
    }

    /// In a second, empty store.
    fn kill_and_resume(&self) -> Result<()> {
        title("Kill a pull half-way, then pull again: it goes on where it stopped");
        let second = self.larder.at(self.place.path().join("second"));
        let total = size(&self.image)?;
        self.relay.limit(Some(LINE_BYTES_PER_SECOND / 2));
        let before = self.relay.received();
        let mut pull = second.command(["pull", &self.reference]);
        println!("$ {}", shown(&pull));
        let mut child = pull.stdin(Stdio::null()).spawn()?;
        while self.relay.received() - before < total / 2 {
            if let Some(status) = child.try_wait()? {
                bail!("the pull ended before it could be killed: {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill()?;
        child.wait()?;
        let first = self.relay.received() - before;
        println!(
            "\n  killed with SIGKILL after {} of {} had come over the line",
            megabytes(first),
            megabytes(total)
        );
        self.relay.settle();
        let before = self.relay.received();
        show(&mut second.command(["pull", &self.reference]))?;
        let rest = self.relay.received() - before;
        self.relay.limit(None);
        println!("\n  the second pull needed {} more", megabytes(rest));
        ensure!(rest < total * 3 / 4, "the second pull fetched {rest} of {total} bytes; it did not resume");
        Ok(())
    }

    fn check(&self) -> Result<()> {
        title("Nothing is believed: every byte in both stores is hashed again");
        self.show(&["verify"])?;
        show(&mut self.larder.at(self.place.path().join("second")).command(["verify"]))?;
        println!("\nOther tools read the store as it is:");
        let layout = format!("oci:{}:{}", self.larder.home().display(), self.reference);
        show(Command::new("skopeo").args([
            "--insecure-policy",
            "inspect",
            "--format",
            "{{.Digest}} {{.Os}}/{{.Architecture}}",
            &layout,
        ]))
    }

    /// A cluster of one chart and one overlay.
    fn discover(&self) -> Result<()> {
        title(
            "What will a cluster ask for? Charts and kustomizations are rendered, and every image has its proof",
        );
        let cluster = self.place.path().join("cluster");
        for (name, text) in CLUSTER {
            let path = cluster.join(name);
            std::fs::create_dir_all(path.parent().context("every file is in a directory")?)?;
            let address = self.relay.address().to_string();
            std::fs::write(path, text.replace("REGISTRY", &address)).context("cannot write the example")?;
        }
        let path = cluster.to_string_lossy().into_owned();
        let lock = self.place.path().join("larder.lock").to_string_lossy().into_owned();
        self.show(&["discover", &path])?;
        self.show(&["lock", &path, "--file", &lock])?;
        println!("\nWould it start with the network unplugged?");
        self.show(&["ready", "--lock", &lock])
    }

    /// To a machine made of namespaces.
    fn deliver(&self) -> Result<()> {
        title(
            "Deliver: the image on a node, over SSH; only what it lacks travels, and it is asked afterwards",
        );
        if let Err(problem) = tools::require(&NODE) {
            println!("This needs a node, and what one is made of is not here ({problem}).");
            return Ok(());
        }
        let fleet = Fleet::start(1, &Engine::Containerd)?;
        println!("worker-1 has a network, an address, an sshd and a containerd of its own.");
        let inventory = fleet.inventory().to_string_lossy().into_owned();
        let inventory = ["--inventory", &inventory];
        self.show(&[&["nodes", "check"], &inventory[..]].concat())?;
        let delivery = [&["deliver", &self.reference, "--node", "worker-1"], &inventory[..]].concat();
        self.show(&delivery)?;
        println!("\nAgain: the node has everything.");
        self.show(&delivery)?;
        let run = ["run", "--rm", &self.reference, "demo", "/usr/bin/git", "--version"];
        println!("\nworker-1$ ctr --namespace k8s.io {}", run.join(" "));
        print!("{}", fleet[0].ctr(run)?.text());
        Ok(())
    }

    /// In a third, empty store, in front of the registry.
    fn serve(mut self) -> Result<Self> {
        title("Serve: one registry in front of all, which goes on when they are gone");
        let third = self.larder.at(self.place.path().join("third"));
        let upstream = format!("hub.example=http://{}", self.relay.address());
        let mut serve =
            third.command(["serve", "--listen", "127.0.0.1:0", "--log", "none", "--upstream", &upstream]);
        println!("\n$ {} &", shown(&serve));
        let mut server = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let outcome = self.pull_through(&third, server.stdout.take().context("the server has no output")?);
        // Terminated rather than killed: it lets transfers finish and writes its log to the end.
        Command::new("kill").arg(server.id().to_string()).status()?;
        server.wait()?;
        outcome?;
        println!("\nWho did what is in a log that shows tampering:");
        show(&mut third.command(["audit", "verify"]))?;
        Ok(self)
    }

    fn pull_through(&mut self, third: &Larder, output: std::process::ChildStdout) -> Result<()> {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        print!("{line}");
        let address =
            line.trim().strip_prefix("listening on http://").context("the server does not listen")?;
        let source = format!("docker://{address}/hub.example/demo/debian:12");
        let pull = |name: &str| {
            let target = format!("dir:{}", self.place.path().join(name).display());
            let options = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
            show(Command::new("skopeo").args(options).args([&source, &target]))
        };
        let before = self.relay.received();
        pull("first-client")?;
        let first = self.relay.received() - before;
        println!("\n  the first client cost {} over the line", megabytes(first));
        pull("second-client")?;
        let second = self.relay.received() - before - first;
        println!("\n  the second client cost {:.1} kB", second as f64 / 1e3);
        ensure!(second < 100_000, "the second client fetched {second} bytes from upstream");
        self.registry = None;
        println!("\nThe upstream is gone. A third client:");
        pull("third-client")?;
        show(&mut third.command(["list"]))
    }

    fn close(&self, took: Duration) {
        println!(
            "\n── That was larder, in {:.0} seconds ──\n\
             Shown: a pull with progress, a second pull that had nothing to do, list, inspect and stats; a mount\n\
             without extracting, with programs run from it; a pull killed half-way and resumed; a store that\n\
             verifies and that skopeo reads; every image of a cluster found, pinned and looked for; a node that\n\
             has it by SSH; a registry in front of another, which serves on without it.\n\n\
             Try next, with target/debug/larder:\n  \
             larder pull debian:12                  from Docker Hub, if you are online\n  \
             larder discover ./manifests ./chart    which images a cluster of yours asks for\n  \
             larder copy docker://SRC oci:DIR:TAG   between registries, layouts and archives\n  \
             larder serve                           a registry, and a cache in front of all others\n  \
             larder gc --dry-run                    what could go\n  \
             larder doctor                          which way of mounting this machine can do, and why\n  \
             cargo xtask bench pull                 how fast, beside containerd, buildah and skopeo with umoci\n\n\
             The guide is in docs/guide.",
            took.as_secs_f64()
        );
    }

    fn show(&self, arguments: &[&str]) -> Result<()> {
        show(&mut self.larder.command(arguments))
    }
}

/// Shows the command line, runs it with our own terminal.
fn show(command: &mut Command) -> Result<()> {
    println!("\n$ {}", shown(command));
    program::run(command)
}

/// The command line, with the program's name for its path.
fn shown(command: &Command) -> String {
    let line = program::line(command);
    let (program, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let name = Path::new(program).file_name().map_or(program.into(), |name| name.to_string_lossy());
    format!("{name} {rest}")
}

fn title(text: &str) {
    println!("\n── {text} ──");
}

/// Everything a pull has to fetch.
fn size(image: &Image) -> Result<u64> {
    let files: Vec<PathBuf> = image.layers()?;
    files.iter().try_fold(0, |sum, file| Ok(sum + file.metadata()?.len()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
