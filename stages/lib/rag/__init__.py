"""Questions asked of the whole corpus as the chat asks them, and how right, how well cited and how sure it answers."""
