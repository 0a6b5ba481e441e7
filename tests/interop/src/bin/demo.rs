//! Try.
use pcmk_interop::*;
fn main() {
    let t = std::time::Instant::now();
    let go = || -> Result<()> {
        let suites = Suite::chosen()?;
        let world = World::enter(&suites)?;
        for s in suites {
            let cluster = Cluster::start(&world, s, 2)?;
            println!("{s} up {:?}", t.elapsed());
            cluster.add_remote(&world, "r1", 1, Daemon::Theirs)?;
            println!("r1 up {:?}", t.elapsed());
            println!("{}", cluster.exec(&["crm_mon", "-1"])?);
        }
        Ok(())
    };
    println!("{:?} {:?}", go(), t.elapsed());
}
