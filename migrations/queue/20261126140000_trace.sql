-- The trace that a task belongs to: the headers traceparent and tracestate of W3C
-- Trace Context, a space between. Null for tasks that belong to none.
ALTER TABLE longhaul.task ADD COLUMN trace_context text;
