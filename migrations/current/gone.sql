-- Functions of earlier releases that nothing calls any more. They are dropped after all others
-- are there, so that no function that is in use calls one that is gone.
DROP FUNCTION IF EXISTS longhaul.apply_gate(text), longhaul.arm_gates(), longhaul.gate(), longhaul.make_room();
