use super::*;
use crate::resp::MAX_BULK;
use bytes::Bytes;

const SIZE: usize = 10;

fn append(length: usize) -> Command {
    let suffix = Bytes::from(vec![0; length]);
    Command::Write(WriteCommand::Append { key: Bytes::from_static(b"k"), suffix })
}

fn get() -> Command {
    Command::Read(ReadCommand::Get(Bytes::from_static(b"k")))
}

fn ping() -> LocalCommand {
    LocalCommand::Ping(None)
}

fn rejected() -> Command {
    Command::Local(LocalCommand::Rejected("ERR unknown".to_owned()))
}

fn ok() -> Action {
    Action::Execute(Command::Local(LocalCommand::Status("OK")))
}

fn error(action: Action) -> String {
    match action {
        Action::Execute(Command::Local(LocalCommand::Wrong(error) | LocalCommand::Rejected(error)))
        | Action::Abort(error) => error,
        other => panic!("an error was expected, not {other:?}"),
    }
}

/// Passes commands to a new transaction, and returns what became of the last one.
fn last(commands: impl IntoIterator<Item = Command>) -> Action {
    let mut transaction = Transaction::default();
    let action = commands.into_iter().map(|command| transaction.next(command, SIZE, Place::Anywhere)).last();
    action.expect("there are commands")
}

#[test]
fn commands_wait_for_exec_between_multi_and_exec_and_nowhere_else() {
    let mut transaction = Transaction::default();
    let mut next = |command| transaction.next(command, SIZE, Place::Anywhere);
    assert_eq!(next(get()), Action::Execute(get()));
    assert_eq!(next(Command::Multi), ok());
    let wrong = LocalCommand::Wrong("ERR syntax error".to_owned());
    for command in [append(1), Command::Local(ping()), get(), Command::Local(wrong.clone())] {
        assert_eq!(next(command), Action::Queued);
    }
    let Action::Exec(queue) = next(Command::Exec) else { panic!("everything was queued") };
    assert_eq!(queue.commands.len(), 2);
    assert_eq!(queue.locals, [(1, ping()), (3, wrong)], "they keep their places");
    assert_eq!(next(append(1)), Action::Execute(append(1)));
}

#[test]
fn misplaced_brackets_get_the_errors_that_redis_gives_and_do_not_end_a_transaction() {
    assert_eq!(error(last([Command::Exec])), "ERR EXEC without MULTI");
    assert_eq!(error(last([Command::Discard])), "ERR DISCARD without MULTI");
    assert_eq!(error(last([Command::Multi, Command::Multi])), "ERR MULTI calls can not be nested");
    let watch = || Command::Watch(vec![Bytes::from_static(b"k")]);
    assert_eq!(last([watch()]), Action::Execute(watch()));
    assert_eq!(error(last([Command::Multi, watch()])), "ERR WATCH inside MULTI is not allowed");
    assert_eq!(last([Command::Multi, Command::Multi, watch(), Command::Exec]), Action::Exec(Queue::default()));
}

#[test]
fn an_incorrect_exec_ends_the_transaction() {
    let incorrect = || Command::AbortExec("ERR wrong number of arguments".to_owned());
    let discarded = "EXECABORT Transaction discarded because of: wrong number of arguments";
    assert_eq!(error(last([incorrect()])), discarded);
    assert_eq!(error(last([Command::Multi, append(1), incorrect()])), discarded);
    assert_eq!(last([Command::Multi, append(1), incorrect(), get()]), Action::Execute(get()));
}

#[test]
fn a_command_that_cannot_be_queued_aborts_the_transaction_until_it_ends() {
    let keys = Command::Read(ReadCommand::Keys(Bytes::from_static(b"*")));
    for command in [rejected(), keys, Command::Backup, Command::Administer(Vec::new())] {
        let mut transaction = Transaction::default();
        let mut next = |command| transaction.next(command, SIZE, Place::Anywhere);
        next(Command::Multi);
        next(append(1));
        assert!(error(next(command)).starts_with("ERR "));
        assert_eq!(next(append(1)), Action::Queued);
        assert_eq!(next(Command::Local(ping())), Action::Queued);
        assert_eq!(next(Command::Exec), Action::Abort(ABORTED.to_owned()));
        assert_eq!(error(next(Command::Exec)), "ERR EXEC without MULTI");
    }
}

#[test]
fn discard_and_reset_drop_what_was_queued_and_what_was_wrong() {
    for command in [append(1), rejected()] {
        assert_eq!(last([Command::Multi, command.clone(), Command::Discard]), Action::Discard);
        assert_eq!(last([Command::Multi, command.clone(), Command::Discard, append(1)]), Action::Execute(append(1)));
        let reset = || Command::Local(LocalCommand::Reset);
        assert_eq!(last([Command::Multi, command.clone(), reset()]), Action::Execute(reset()));
        assert_eq!(error(last([Command::Multi, command, reset(), Command::Exec])), "ERR EXEC without MULTI");
    }
}

#[test]
fn the_memory_of_a_queued_command_is_that_of_its_request_at_least() {
    for command in [Command::Local(ping()), append(0), append(MAX_BULK)] {
        let mut transaction = Transaction::default();
        transaction.next(Command::Multi, SIZE, Place::Anywhere);
        transaction.next(command, MAX_BULK, Place::Anywhere);
        assert!((MAX_BULK..MAX_BULK + 1000).contains(&transaction.bytes()));
    }
}

#[test]
fn a_transaction_is_no_larger_than_an_entry() {
    let fits_with = |size: usize, commands: Vec<Command>| {
        let (count, mut transaction) = (commands.len(), Transaction::default());
        transaction.next(Command::Multi, SIZE, Place::Anywhere);
        commands.into_iter().for_each(|command| drop(transaction.next(command, size, Place::Anywhere)));
        match transaction.next(Command::Exec, SIZE, Place::Anywhere) {
            Action::Exec(queue) => queue.len() == count,
            aborted => error(aborted).is_empty(),
        }
    };
    let fits = |commands| fits_with(SIZE, commands);
    assert!(fits(vec![append(0); MAX_ENTRY_KEYS]));
    assert!(!fits(vec![append(0); MAX_ENTRY_KEYS + 1]));
    assert!(fits(vec![append(MAX_BULK); 2]));
    assert!(!fits(vec![append(MAX_BULK); 4]));
    for command in [Command::Local(ping()), append(0), get()] {
        assert!(fits_with(MAX_BULK, vec![command.clone(); 3]));
        assert!(!fits_with(MAX_BULK, vec![command; 4]), "a command keeps the memory of its request");
    }
    let mget = |keys| Command::Read(ReadCommand::Mget(vec![Bytes::new(); keys]));
    assert!(fits(vec![mget(MAX_ENTRY_KEYS - 1), append(0)]));
    assert!(!fits(vec![mget(MAX_ENTRY_KEYS), append(0)]));
}

#[test]
fn a_transaction_is_where_the_keys_of_all_its_commands_are() {
    let (here, there) = (Place::In { slot: 1, group: 0 }, Place::In { slot: 9, group: 1 });
    let place = |places: &[Place]| {
        let mut transaction = Transaction::default();
        transaction.next(Command::Multi, SIZE, Place::Anywhere);
        for place in places {
            assert_eq!(transaction.next(get(), SIZE, *place), Action::Queued);
            assert_eq!(transaction.next(Command::Local(ping()), SIZE, Place::Anywhere), Action::Queued);
        }
        match transaction.next(Command::Exec, SIZE, Place::Anywhere) {
            Action::Exec(queue) => queue.place,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(place(&[]), Place::Anywhere);
    assert_eq!(place(&[here, here]), here);
    assert_eq!(place(&[here, there]), Place::Apart);
}
