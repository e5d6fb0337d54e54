BEGIN;
-- Both views follow the one rule of what counts, as the report, training and exports do.
DROP VIEW labelled_scores;
DROP VIEW labels;
-- What counts of each lead, however late: of its first thousand outcomes that of the highest revision, of those the last that
-- happened.
CREATE VIEW labels AS
SELECT lead, won, revenue, revision, time_ms, coalesce(occurred_ms, time_ms) AS occurred_ms, route, deal FROM (
    SELECT *, row_number() OVER (
        PARTITION BY lead ORDER BY coalesce(revision, 0) DESC, coalesce(occurred_ms, time_ms) DESC, seq DESC) AS place
    FROM (SELECT *, row_number() OVER (PARTITION BY lead ORDER BY seq) AS told FROM outcomes WHERE lead IS NOT NULL)
    WHERE told <= 1000)
WHERE place = 1;
-- Each version's score that counts of a lead of which something became within the horizon, as it was last counted.
CREATE VIEW labelled_scores AS
SELECT counted.lead, counted.model, counted.version, counted.score, counted.grade, counted.won, counted.revenue,
    counted.time_ms AS scored_ms, coalesce(outcomes.occurred_ms, outcomes.time_ms) AS occurred_ms
FROM counted JOIN outcomes ON outcomes.seq = (
    SELECT told.seq FROM (SELECT * FROM outcomes WHERE outcomes.lead = counted.lead ORDER BY outcomes.seq LIMIT 1000) AS told
    WHERE coalesce(told.occurred_ms, told.time_ms) <= counted.time_ms + (SELECT horizon_ms FROM counted_to)
    ORDER BY coalesce(told.revision, 0) DESC, coalesce(told.occurred_ms, told.time_ms) DESC, told.seq DESC LIMIT 1)
WHERE counted.won IS NOT NULL;
PRAGMA user_version = 6;
COMMIT;
