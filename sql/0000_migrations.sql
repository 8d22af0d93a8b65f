-- Which of these files have been applied. Two collectors that start together may both record a number.
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32 COMMENT 'Number at the start of the file''s name',
    name String COMMENT 'The rest of the file''s name',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it had been applied'
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
