{{ openedx_forum_contents('mitx') }}
