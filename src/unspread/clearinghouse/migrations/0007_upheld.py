from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('clearinghouse', '0006_feedback_accounts'),
    ]

    operations = [
        migrations.AddField(
            model_name='item',
            name='asked_because',
            field=models.CharField(db_default='', max_length=24),
        ),
        migrations.AddField(
            model_name='item',
            name='upheld_through',
            field=models.BigIntegerField(db_default=0),
        ),
    ]
