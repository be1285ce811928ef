-- Keys for turns have a limit from here on (longhaul.turn_key).
SET LOCAL lock_timeout = '5s';

UPDATE longhaul.held SET key = left(key, 40) || ':' || md5(key) WHERE octet_length(key) > 200;
UPDATE longhaul.admitted SET key = left(key, 40) || ':' || md5(key) WHERE octet_length(key) > 200;
