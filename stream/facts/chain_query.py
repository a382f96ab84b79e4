"""The SQL behind provenance, over the rig's file with the analysis' attached."""

# Which settings of a frame a kind of command sets, and where it says so (NULL: always).
SETS = """
VALUES ('set_exposure', 'exposure_ms', NULL), ('set_interval', 'interval_ms', NULL), ('set_roi', 'roi_px', NULL),
    ('set_binning', 'binning', NULL), ('set_pixel_type', 'pixel_type', NULL), ('set_channel', 'channel', NULL),
    ('move_stage', 'x_um', '$.action.x_um'), ('move_stage', 'y_um', '$.action.y_um'),
    ('move_stage', 'z_um', '$.action.z_um'), ('recentre', 'x_um', NULL), ('recentre', 'y_um', NULL),
    ('set_light', 'light_power', '$.action.power'), ('set_light', 'light_on', '$.action.on'),
    ('add_position', 'x_um', NULL), ('add_position', 'y_um', NULL), ('add_position', 'z_um', NULL),
    ('stimulate', 'stimulated', NULL), ('resume', 'resumed', NULL), ('acquire', 'taken', NULL)
"""

# first: where each command shows first, as frames name it and as its answer says (either row may be lost).
# said: those that show at or before the frame; what is bound to a position of the plan, or an exposure to a channel,
# holds there alone, and a sequence explains the frames that it took itself. newest: the newest for each setting, of
# exposures for each width. caused: of these the one that a driver of plans heeds: a word settles what was said before
# of as much or less, and of two that hold the narrower counts, a position's before a channel's.
CHAIN = f"""
WITH shown AS (SELECT * FROM frames WHERE camera = ? AND session = ? AND epoch = ? AND seq = ?),
sets(kind, setting, said) AS ({SETS}),
named(command_id, epoch, seq) AS (
    SELECT e.command_id, e.epoch, e.seq FROM effects e, shown WHERE e.camera = shown.camera
    UNION
    SELECT t.command_id, json_extract(t.first_frame, '$.epoch'), json_extract(t.first_frame, '$.seq')
    FROM transitions t, shown WHERE t.final AND json_extract(t.first_frame, '$.camera') = shown.camera
),
first AS (
    SELECT *, row_number() OVER (PARTITION BY command_id ORDER BY epoch, seq) AS place FROM named
),
said AS (
    SELECT c.*, sets.setting, first.epoch AS since_epoch, first.seq AS since_seq,
        sets.setting = 'exposure_ms' AND json_extract(c.command, '$.target.position') IS NOT NULL AS of_position,
        sets.setting = 'exposure_ms' AND json_extract(c.command, '$.target.channel') IS NOT NULL AS of_channel
    FROM first JOIN commands c USING (command_id) JOIN sets USING (kind), shown
    WHERE first.place = 1 AND (first.epoch, first.seq) <= (shown.epoch, shown.seq)
        AND (sets.said IS NULL OR json_extract(c.command, sets.said) IS NOT NULL)
        AND (sets.setting NOT IN ('x_um', 'y_um', 'z_um', 'interval_ms', 'exposure_ms')
            OR ifnull(json_extract(c.command, '$.target.position'), shown.p) = shown.p)
        AND (sets.setting != 'exposure_ms'
            OR ifnull(json_extract(c.command, '$.target.channel'), shown.channel) = shown.channel)
        AND (c.kind != 'add_position' OR shown.p = (
            SELECT json_extract(t.readback, '$.position') FROM transitions t
            WHERE t.command_id = c.command_id AND t.final
        ))
        AND (c.kind != 'acquire' OR substr(shown.field, -length(c.command_id) - 1) = '/' || c.command_id)
),
aged AS (
    SELECT *, row_number() OVER (
        PARTITION BY setting, of_position, of_channel ORDER BY since_epoch DESC, since_seq DESC, id DESC
    ) AS age FROM said
),
newest AS (SELECT * FROM aged WHERE age = 1),
caused AS (
    SELECT *, row_number() OVER (PARTITION BY setting ORDER BY of_position DESC, of_channel DESC) AS rank
    FROM newest one WHERE NOT EXISTS (
        SELECT 1 FROM newest later
        WHERE later.setting = one.setting AND later.of_position <= one.of_position
            AND later.of_channel <= one.of_channel
            AND (later.since_epoch, later.since_seq, later.id) > (one.since_epoch, one.since_seq, one.id)
    )
)
SELECT c.*, n.policy, f.session AS since_session, f.field AS since_field, f.frame AS since_frame, v.line,
    v.revision AS acted_on, s.session, s.epoch, s.seq, s.field, s.frame, s.channel, s.t_pop_ns, s.wall_ns,
    d.t_decided_ns, d.same_host
FROM caused c, shown
LEFT JOIN frames f ON f.camera = shown.camera AND f.epoch = c.since_epoch AND f.seq = c.since_seq
LEFT JOIN analysis.sent n ON n.command_id = c.command_id
LEFT JOIN analysis.events v ON v.event_id = c.cause_event AND v.emitted_frame = c.cause_frame
LEFT JOIN frames s ON s.field = v.field AND s.frame BETWEEN v.frame AND v.emitted_frame
LEFT JOIN analysis.frames d ON d.field = s.field AND d.frame = s.frame
    AND d.session = s.session AND d.epoch = s.epoch AND d.seq = s.seq
WHERE c.rank = 1
ORDER BY c.since_epoch DESC, c.since_seq DESC, c.id DESC, c.setting, v.revision, s.id
"""

ALONE = """
SELECT c.*, NULL AS setting, n.policy, NULL AS since_session, NULL AS since_epoch, NULL AS since_seq,
    NULL AS since_field, NULL AS since_frame, v.line, v.revision AS acted_on,
    s.session, s.epoch, s.seq, s.field, s.frame, s.channel, s.t_pop_ns, s.wall_ns, d.t_decided_ns, d.same_host
FROM commands c
LEFT JOIN analysis.sent n ON n.command_id = c.command_id
LEFT JOIN analysis.events v ON v.event_id = c.cause_event AND v.emitted_frame = c.cause_frame
LEFT JOIN frames s ON s.field = v.field AND s.frame BETWEEN v.frame AND v.emitted_frame
LEFT JOIN analysis.frames d ON d.field = s.field AND d.frame = s.frame
    AND d.session = s.session AND d.epoch = s.epoch AND d.seq = s.seq
WHERE c.command_id = ?
ORDER BY v.revision, s.id
"""
SHOWING = """
SELECT s.*, d.t_decided_ns, d.same_host FROM frames s
LEFT JOIN analysis.frames d ON d.field = s.field AND d.frame = s.frame
    AND d.session = s.session AND d.epoch = s.epoch AND d.seq = s.seq
WHERE s.field = ? AND s.frame BETWEEN ? AND ? ORDER BY s.id
"""

LOST = """
SELECT wall_ns, 'driver' AS stage, reason, missing AS count, field, NULL AS frame, detail FROM gaps
    WHERE wall_ns BETWEEN ? AND ?
UNION ALL SELECT wall_ns, stage, reason, count, field, frame, '' FROM losses WHERE wall_ns BETWEEN ? AND ?
UNION ALL SELECT wall_ns, stage, reason, count, field, frame, '' FROM analysis.losses WHERE wall_ns BETWEEN ? AND ?
UNION ALL SELECT wall_ns, 'analysis', reason, missing, field, NULL, detail FROM analysis.gaps
    WHERE wall_ns BETWEEN ? AND ?
UNION ALL SELECT wall_ns, 'policy ' || policy, reason, 1, event_id, NULL, '' FROM analysis.dropped
    WHERE wall_ns BETWEEN ? AND ?
ORDER BY wall_ns LIMIT 100
"""
