"""Documents with pages, cut into passages and sentences that know their pages and rectangles."""
