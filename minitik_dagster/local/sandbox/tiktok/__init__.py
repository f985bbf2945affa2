"""TikTok: Login Kit tokens, Content Posting (Direct Post), Display API."""
