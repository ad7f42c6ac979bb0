-- The tables stay where they are: where they came from, others may have made theirs meanwhile. Code from before finds
-- them by ALTER ROLE … SET search_path = hexbite, public.
SELECT 1;
