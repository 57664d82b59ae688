//! A process that is stopped for so long that another one goes on with its run, and then wakes up.

use std::time::Duration;

use super::{Setting, check, document, essence, exit, said};

/// The pause before the next try to go on with the run, and how many tries last longer than any lease.
const PAUSE: Duration = Duration::from_millis(500);
const TRIES: usize = 180;

/// The step before which all others have ended: a process that is stopped while it writes would lock the others out for as
/// long as it stands still.
const LAST: &str = "end/-/-";

#[test]
fn a_process_that_wakes_up_after_another_went_on_writes_nothing_more() {
    let setting = Setting::new(Duration::from_millis(3));
    let server = setting.server.clone();
    let expected = essence(&setting.undisturbed());
    server.hold("zombie", LAST);
    let mut zombie = setting.begin("zombie");
    assert!(server.wait_for("zombie", LAST, || zombie.has_ended()));
    zombie.send("-STOP");
    let (id, _) = setting.newest();

    // Refused as long as the lease lasts; then the heir goes on until it is held itself. The zombie's answer has come by
    // then.
    server.hold("zombie", LAST);
    let mut refusals = 0;
    let heir = loop {
        let mut heir = setting.resume(&id);
        if server.wait_for("zombie", LAST, || heir.has_ended()) {
            break heir;
        }
        let output = heir.end();
        assert!(matches!(exit(output.status), 1 | 2), "{}", said(&output));
        assert!(said(&output).contains(&id) && said(&output).contains("process"), "{}", said(&output));
        refusals += 1;
        assert!(refusals < TRIES, "the lease does not expire");
        // Nobody tells of the end of a lease.
        std::thread::sleep(PAUSE);
    };
    assert!(refusals > 0, "taken from a process that had its lease");

    // Both live now: the zombie has its answer, and may not keep it.
    zombie.send("-CONT");
    let output = zombie.end();
    assert_eq!(exit(output.status), 1, "{}", said(&output));
    assert!(said(&output).contains(&id) && said(&output).contains("process"), "{}", said(&output));
    setting.verify(&[&id]);

    server.let_go("zombie", LAST);
    let output = heir.end();
    assert_eq!(exit(output.status), 0, "{}", said(&output));
    let record = document(&output);
    assert_eq!(essence(&record), expected);
    // Whatever the zombie had asked for after it woke up would be found here.
    assert!(check(&record, &server.answers("zombie")) >= 1);
    assert_eq!(setting.show(&id), record);
    setting.verify(&[]);
}
