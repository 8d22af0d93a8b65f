//! What an import does with files that change under it, and with those that it has not written.

use super::*;

#[tokio::test]
async fn a_file_that_becomes_shorter_under_its_import_is_not_done() {
    let case = Case::new(&lines(0..20_000, &["s"]));
    let path = case.path("a.ndjson");
    let server = Server::start(move |_, _| {
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
        Reply::Take
    })
    .await;
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("it became shorter meanwhile"), "{error}");
    assert!(read(&case.path("a.ndjson.import.json")).contains("\"is_done\":false"));
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("it has changed since"), "{error}");
}

#[tokio::test]
async fn an_import_neither_writes_to_what_it_reads_nor_removes_what_it_did_not_write() {
    let server = Server::start(|_, _| Reply::Take).await;
    let text = lines(0..3, &["s"]) + "bad\n";
    let case = Case::new(&text);
    let link = case.path("link");
    std::os::unix::fs::symlink(case.path("a.ndjson"), &link).unwrap();
    let dotted = case.path("./a.ndjson");
    let key = case.key.expose();
    for other in [&link, &dotted, &case.path("a.ndjson.import.json")] {
        let path = case.path("a.ndjson");
        let arguments = ["import", path.to_str().unwrap(), "--key", key, "--url", &server.url];
        let args = Cli::try_parse_from(arguments.into_iter().chain(["--rejected", other.to_str().unwrap()]));
        let args = args.unwrap().args;
        let error = match args.inputs() {
            Ok(inputs) => import(&args, &inputs, args.sender().unwrap()).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(format!("{error:#}").contains("the file to import"), "{error:#}");
    }
    assert_eq!((read(&case.path("a.ndjson")), server.seen().sizes.len()), (text.clone(), 0));

    let notes = case.path("notes");
    std::fs::write(&notes, "mine").unwrap();
    for _ in 0..2 {
        case.import(&server.url, &["--rejected", notes.to_str().unwrap()]).await.unwrap_err();
        assert_eq!(read(&case.path("notes.old")), "mine");
        assert_eq!(read(&notes).lines().count(), 1);
    }
    assert!(!case.path("notes.old.2").exists(), "its own lines are replaced");
    std::fs::write(case.path("a.ndjson.import.json"), "{").unwrap();
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("cannot be read (--restart begins anew)"), "{error}");
    case.import(&server.url, &["--restart"]).await.unwrap_err();
    assert_eq!(case.rejected().len(), 1);
}
