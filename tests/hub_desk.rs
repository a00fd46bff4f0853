//! The hub's desk, promise by promise: replay, gaps, acknowledgement, cursors ahead of a worker.

mod desk;

use desk::*;
use tautline::hub::{Attachment, Cursor, Delivery, Most, Offer, RateLimit, Resume, SessionId, Subscribed};

// By id.

#[test]
fn s14_what_is_published_between_replay_and_live_comes_once_and_in_order() {
    for pulls in 1..6 {
        let mut desk = desk();
        (1001..1004).for_each(|ms| desk.apply(at(ms), publication(at(ms), "few", "", None)));
        desk.attach(0, &who(&[("few", None)], Resume::At(cursor(ORIGIN)))).unwrap();
        let mut got = Vec::new();
        let one = Most { events: 1, ..ALL };
        for ms in 1004..1008 {
            // Some of the replay, and then something is published.
            if ms < 1004 + pulls {
                let mut items = Vec::new();
                desk.pull(0, one, NOW, &mut items);
                got.extend(words(&items));
            }
            let next = publication(at(ms), "few", "", None);
            desk.apply(at(ms), next.clone());
            if desk.is_plain(0) || desk.offer(0, &next, NOW) == Offer::Send {
                got.push(ms.to_string());
            }
        }
        got.extend(pull(&mut desk, 0));
        let events: Vec<u64> = got.iter().filter_map(|word| word.parse().ok()).collect();
        assert!(events.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
        let lost = (1001..1008).any(|ms| !events.contains(&ms));
        assert_eq!(lost, got.iter().any(|word| word == "gap few expired"), "{got:?}");
        assert_eq!(*events.last().unwrap(), 1007);
        assert!(desk.is_plain(0));
    }
}

#[test]
fn s11_a_cursor_that_is_none_of_this_log_s_is_told_as_a_gap_and_then_it_is_live() {
    for (resume, reason) in [
        (Resume::Unknown, "unknown"),
        (Resume::At(Cursor { position: at(1001), log: Some(OTHER) }), "unknown"),
        (Resume::At(Cursor { position: at(1001), log: None }), "unknown"),
        (Resume::At(cursor(at(9999))), "ahead"),
    ] {
        let mut desk = desk();
        desk.apply(at(1001), publication(at(1001), "few", "", None));
        let topics = [("few", None), ("quiet", None)];
        desk.attach(0, &Attachment { head: at(1001), ..who(&topics, resume) }).unwrap();
        assert_eq!(pull(&mut desk, 0), [format!("gap few {reason}\nquiet {reason}"), "1001".into()]);
        assert!(desk.is_plain(0));
    }
}

// One by one.

#[test]
fn the_start_of_everything_has_no_gap_whatever_was_let_go() {
    let mut desk = desk();
    (1001..1009).for_each(|ms| desk.apply(at(ms), publication(at(ms), "few", "", None)));
    for resume in [Resume::Start, Resume::At(Cursor::START)] {
        desk.attach(0, &who(&[("few", None), ("quiet", None)], resume)).unwrap();
        assert_eq!(pull(&mut desk, 0), ["1006", "1007", "1008"]);
    }
}

#[test]
fn what_is_sent_again_from_the_start_of_everything_has_no_gap_either() {
    let mut desk = desk();
    (1001..1009).for_each(|ms| desk.apply(at(ms), publication(at(ms), "few", "", None)));
    let topics = [("few", None), ("quiet", None)];
    desk.attach(0, &Attachment { delivery: Delivery::Acknowledged, ..who(&topics, Resume::Start) }).unwrap();
    assert_eq!(pull(&mut desk, 0), ["1006", "1007", "1008"]);
    assert_eq!(desk.poll_timeout(0), Some(NOW + WITHIN));
    assert!(desk.handle_timeout(0, NOW + WITHIN));
    assert_eq!(pull(&mut desk, 0), ["1006", "1007", "1008"]);
    // Nor when it comes back before it acknowledged anything.
    let acknowledged = desk.acknowledged(0);
    let again = Attachment {
        delivery: Delivery::Acknowledged,
        acknowledged,
        head: at(1008),
        ..who(&topics, Resume::At(cursor(at(1008))))
    };
    desk.attach(0, &again).unwrap();
    assert_eq!(pull(&mut desk, 0), ["1006", "1007", "1008"]);
}

#[test]
fn what_the_client_s_own_cursor_covers_is_no_gap_when_its_acknowledgement_is_older() {
    let mut desk = desk();
    (1001..1009).for_each(|ms| desk.apply(at(ms), publication(at(ms), "few", "", None)));
    let resume = |position| Attachment {
        delivery: Delivery::Acknowledged,
        acknowledged: Some(at(1001)),
        head: at(1008),
        ..who(&[("few", None)], Resume::At(cursor(position)))
    };
    desk.attach(0, &resume(at(1007))).unwrap();
    assert_eq!(pull(&mut desk, 0), ["1006", "1007", "1008"]);
    desk.attach(0, &resume(at(1003))).unwrap();
    assert_eq!(pull(&mut desk, 0), ["gap few expired", "1006", "1007", "1008"]);
}

#[test]
fn a_position_that_was_told_can_be_acknowledged() {
    let mut desk = desk();
    let topics = [("few", None)];
    desk.attach(0, &Attachment { delivery: Delivery::Acknowledged, ..who(&topics, Resume::Live) }).unwrap();
    assert!(pull(&mut desk, 0).is_empty());
    let event = publication(at(1001), "few", "", None);
    desk.apply(at(1001), event.clone());
    assert_eq!(desk.offer(0, &event, NOW), Offer::Send);
    // Something elsewhere: the next position block is beyond the last event.
    desk.apply(at(1002), publication(at(1002), "quiet", "", None));
    assert_eq!(desk.position_of(0), cursor(at(1002)));
    assert_eq!(desk.acknowledge(0, desk.position_of(0), NOW), Some(at(1002)));
    assert_eq!(desk.poll_timeout(0), None);
    assert_eq!(desk.acknowledge(0, cursor(at(1003)), NOW), None, "nothing was sent up to there");
}

#[test]
fn what_is_acknowledged_while_it_is_sent_again_is_not_sent_again() {
    let mut desk = desk();
    (1001..1004).for_each(|ms| desk.apply(at(ms), publication(at(ms), "few", "", None)));
    let topics = [("few", None)];
    let who = Attachment { delivery: Delivery::Acknowledged, ..who(&topics, Resume::At(cursor(ORIGIN))) };
    desk.attach(0, &who).unwrap();
    assert_eq!(pull(&mut desk, 0).len(), 3);
    assert!(desk.handle_timeout(0, NOW + WITHIN));
    assert_eq!(desk.acknowledge(0, cursor(at(1002)), NOW + WITHIN), Some(at(1002)));
    assert_eq!(pull(&mut desk, 0), ["1003"]);
}

#[test]
fn what_is_sent_again_does_not_reach_back_beyond_a_subscription() {
    let mut desk = desk();
    let topics = [("few", None)];
    desk.attach(0, &Attachment { delivery: Delivery::Acknowledged, ..who(&topics, Resume::Live) }).unwrap();
    assert!(pull(&mut desk, 0).is_empty());
    let events = [publication(at(1001), "few", "", None), publication(at(1002), "brief", "", None)];
    events.iter().for_each(|event| desk.apply(event.cursor().position, event.clone()));
    assert_eq!(desk.offer(0, &events[0], NOW), Offer::Send);
    assert_eq!(desk.subscribe(0, "brief", None, at(1002)), Ok(Subscribed::New));
    assert_eq!(pull(&mut desk, 0), ["subscribed brief 1002-0-0000beef"]);
    assert!(desk.handle_timeout(0, NOW + WITHIN));
    assert_eq!(pull(&mut desk, 0), ["1001"]);
}

#[test]
fn a_topic_whose_cursor_is_ahead_of_this_worker_goes_on_when_that_is_reached() {
    let mut desk = desk();
    desk.attach(0, &who(&[("few", None)], Resume::Live)).unwrap();
    assert!(pull(&mut desk, 0).is_empty());
    desk.subscribe(0, "brief", Some(cursor(at(1003))), at(1003)).unwrap();
    assert!(pull(&mut desk, 0).is_empty());
    for ms in 1001..1004 {
        assert!(desk.take_overtaken().is_empty());
        desk.apply(at(ms), publication(at(ms), "brief", "", None));
    }
    assert_eq!(desk.take_overtaken(), [0]);
    assert_eq!(pull(&mut desk, 0), ["subscribed brief 1003-0-0000beef"]);
}

#[test]
fn those_who_wait_for_what_is_ahead_take_no_room_when_they_are_gone() {
    let mut desk = desk();
    for _ in 0..100 {
        desk.attach(0, &Attachment { head: at(2000), ..who(&[("few", None)], Resume::At(cursor(at(2000)))) }).unwrap();
        desk.attach(1, &Attachment { head: at(2000), ..who(&[("few", None)], Resume::At(cursor(at(2000)))) }).unwrap();
        desk.detach(1);
    }
    desk.apply(at(2000), publication(at(2000), "few", "", None));
    assert_eq!(desk.take_overtaken(), [0]);
}

#[test]
fn no_topic_has_caught_up_below_the_cursor_that_its_member_came_with() {
    let mut desk = desk();
    desk.apply(at(1001), publication(at(1001), "few", "", None));
    // Its client has everything up to 1005, from a worker that is ahead, and has acknowledged less.
    let head = at(1009);
    let acknowledged = Some(ORIGIN);
    let topics = [("few", None)];
    let who = who(&topics, Resume::At(cursor(at(1005))));
    desk.attach(0, &Attachment { delivery: Delivery::Acknowledged, acknowledged, head, ..who }).unwrap();
    assert_eq!(pull(&mut desk, 0), ["1001"]);
    assert_eq!(desk.subscribe(0, "many", Some(cursor(ORIGIN)), head), Ok(Subscribed::New));
    desk.apply(at(1002), publication(at(1002), "many", "", None));
    // With the word that `many` has caught up at 1002 its client would take 1005 for what it has of that topic, too.
    assert!(pull(&mut desk, 0).is_empty());
    desk.apply(at(1004), publication(at(1004), "many", "", None));
    assert!(desk.take_overtaken().is_empty());
    desk.apply(at(1006), publication(at(1006), "many", "", None));
    assert_eq!(desk.take_overtaken(), [0]);
    assert_eq!(pull(&mut desk, 0)[..3], ["1002", "1004", "1006"]);
}

#[test]
fn a_connection_that_posts_for_many_sessions_is_held_to_what_16_may_say() {
    let mut desk = desk();
    let RateLimit { burst, .. } = desk.config().rate;
    let burst = burst.get();
    // As one session, what one may say.
    let said = (0..10 * burst).filter(|_| desk.count_command(1, Some(SessionId(0)), NOW).is_ok()).count();
    assert_eq!(said, burst as usize);
    // As another one with each command, what 16 may.
    let said = (0..100 * burst).filter(|n| desk.count_command(2, Some(SessionId((*n).into())), NOW).is_ok()).count();
    assert_eq!(said, 16 * burst as usize);
    // What is refused takes nothing from the others.
    assert_eq!(desk.count_command(3, None, NOW), Ok(()));
    desk.forget_poster(2);
    assert_eq!(desk.count_command(2, None, NOW), Ok(()));
}
