BEGIN;
-- Rows are written in the order of their times, so a range of times is a range of seq, and its ends are found by bisection.
-- An index of times took a tenth of what a score costs to write.
DROP INDEX scores_time;
PRAGMA user_version = 3;
COMMIT;
