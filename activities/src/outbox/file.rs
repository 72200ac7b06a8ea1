//! A file of JSON lines that events are appended to.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

const CHUNK: usize = 4_096;

/// Appends whole lines, and returns once they are on the disk. Writers in other processes wait for each other. A line that
/// one left torn, as it died in the middle of it, is cut off first: it was never recorded as delivered, and comes again.
///
/// # Errors
/// When the file can't be written. Some of the lines may be there, and come again.
pub(super) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = File::options().create(true).read(true).append(true).open(path)?;
    file.lock()?;
    cut_torn_line(&mut file)?;
    file.write_all(lines)?;
    file.sync_all()?;
    if is_new && let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut chunk = [0; CHUNK];
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..usize::try_from(end - start).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(newline) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_stay_and_torn_ones_are_cut_off_however_long_they_are() {
        let path = std::env::temp_dir().join(format!("backstop-lines-{}", uuid::Uuid::now_v7().simple()));
        for torn in ["", "x", &"x".repeat(CHUNK - 1), &"x".repeat(CHUNK), &"x".repeat(3 * CHUNK)] {
            for whole in ["", "one\n", "one\ntwo\n"] {
                std::fs::write(&path, format!("{whole}{torn}")).unwrap();
                append(&path, b"three\nfour\n").unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{whole}three\nfour\n"), "{}", torn.len());
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
