"""Google OAuth, YouTube Data API v3 and YouTube Analytics."""
