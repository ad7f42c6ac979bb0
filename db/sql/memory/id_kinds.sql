-- Whether the ids of users and restaurants that are stored are texts.
--
-- Parameters: none.
-- Columns:    users and restaurants: true, false, or NULL where there are none, or of both kinds.
-- Index:      users_by_key and restaurants_by_key; of integers the first row that is met.
SELECT CASE WHEN user_texts <> user_integers THEN user_texts END AS users,
       CASE WHEN restaurant_texts <> restaurant_integers THEN restaurant_texts END AS restaurants
  FROM (SELECT EXISTS (SELECT FROM users WHERE user_key IS NOT NULL) AS user_texts,
               EXISTS (SELECT FROM users WHERE user_key IS NULL) AS user_integers,
               EXISTS (SELECT FROM restaurants WHERE restaurant_key IS NOT NULL) AS restaurant_texts,
               EXISTS (SELECT FROM restaurants WHERE restaurant_key IS NULL) AS restaurant_integers) AS found
